/**
 * A client's credentials: certificates, keys and tokens, from files or inline in a kubeconfig. Files are read again for each
 * use: Kubernetes renews a pod's token every hour, and certificates are renewed before they expire. No message contains a
 * credential.
 */

import { X509Certificate } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { createSecureContext, getCACertificates, type SecureContextOptions } from "node:tls";
import { ConfigError, messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";

/** Longer than any credential. */
const MAX_BYTES = 256 * 1024;

/** What a TLS connection to the API server uses (tls.createSecureContext, tls.connect of Node.js). */
export interface TlsSettings extends SecureContextOptions {
  /** The name that the server's certificate must have, if not that of the URL. */
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

/** The identity of the client, and how the server is verified. */
export interface Credentials {
  readonly readTls: () => TlsSettings;
  /**
   * The current value of the Authorization header; undefined = none. `refused` is one that the server rejected ("" = it
   * rejected a request without one): the caller then needs a different one. Throws StoreError UNAUTHENTICATED if none is
   * available.
   */
  authorize(refused?: string): Promise<string | undefined>;
  readonly identity: string;
  /** Whether there is a secret that must not be sent without TLS. */
  readonly hasSecrets: boolean;
  readonly notes: readonly string[];
}

/** A text and its source, for messages: "token file /a/b". */
export interface Source {
  readonly place: string;
  /** Throws ConfigError. */
  readonly read: () => string;
}

/** A credential in a file; `what` names it in messages. Reading throws ConfigError when that fails. */
export const fileSource = (what: string, path: string): Source => ({
  place: `${what} ${path}`,
  read: () => readCredential(what, path),
});

/** The base64 text in a member of a kubeconfig. */
export function dataSource(place: string, base64: string): Source {
  const text = Buffer.from(base64, "base64").toString();
  return { place, read: () => text };
}

/**
 * Reads now, so that a bad file is an error at startup; the returned function reads again. If it fails then (the file may
 * be half replaced), it logs that once and returns the previous value. Throws ConfigError, only now.
 */
export function keepReading<T>(read: () => T, logger: Logger): () => T {
  let usable = read();
  let reported: string | undefined;
  return () => {
    try {
      usable = read();
      reported = undefined;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const problem = messageOf(error);
      if (problem !== reported) logger.warn(`Keeping the previous credentials: ${problem}`);
      reported = problem;
    }
    return usable;
  };
}

/** A bearer token (RFC 6750 §2.1, and any other visible ASCII). Throws ConfigError. */
export function readToken({ place, read }: Source): string {
  const token = read().trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new ConfigError(`${place} contains no token: a token is one line without spaces`);
  }
  return token;
}

/** The PEM text of one or more certificates. Throws ConfigError. */
export function readCertificates({ place, read }: Source): string {
  const text = read();
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0 || !blocks.every(isCertificate)) {
    throw new ConfigError(`${place} contains no valid certificate in PEM format`);
  }
  return text;
}

/** By default Node.js trusts only the authorities compiled into it, not those of the host. */
export const trustedAuthorities = (): string[] => [
  ...getCACertificates("default"),
  ...getCACertificates("system"),
];

/** The authorities in `source`, or the host's; each call reads them again. Throws ConfigError, only now. */
export const openAuthorities = (source: Source | undefined, logger: Logger): (() => string | string[]) =>
  source === undefined ? trustedAuthorities : keepReading(() => readCertificates(source), logger);

/** A client's certificate and its key. Throws ConfigError. */
export function readKeyPair(certificate: Source, privateKey: Source): { cert: string; key: string } {
  const cert = readCertificates(certificate);
  const key = privateKey.read();
  check({ key }, `${privateKey.place} contains no valid, unencrypted private key`);
  check({ cert, key }, `${certificate.place} and ${privateKey.place} do not match`);
  return { cert, key };
}

/** Reads a file of any kind, up to MAX_BYTES. Throws ConfigError. */
function readCredential(what: string, path: string): string {
  const buffer = Buffer.alloc(MAX_BYTES + 1);
  let length = 0;
  try {
    const file = openSync(path, "r");
    try {
      for (let read = -1; read !== 0 && length <= MAX_BYTES; length += read) {
        read = readSync(file, buffer, length, buffer.length - length, null);
      }
    } finally {
      closeSync(file);
    }
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new ConfigError(`failed to read ${what} ${path}: ${reason}`, { cause: error });
  }
  if (length > MAX_BYTES) throw new ConfigError(`${what} ${path} is longer than ${MAX_BYTES >> 10} KiB`);
  return buffer.toString("utf8", 0, length);
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

function check(context: { cert?: string; key?: string }, complaint: string): void {
  try {
    createSecureContext(context);
  } catch {
    throw new ConfigError(complaint);
  }
}
