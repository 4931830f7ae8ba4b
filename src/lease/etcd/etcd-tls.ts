/**
 * The TLS files that the flags name. They are read and checked at startup, so that a bad one is a {@link ConfigError} with
 * its flag and path before the first connection (W10), and again for each new connection: certificates that are replaced on
 * disk before they expire need no restart.
 */

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, getCACertificates, type SecureContextOptions } from "node:tls";
import { ConfigError, messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import type { EtcdConnectionOptions } from "../../config/options-etcd.ts";

type TlsFiles = Pick<EtcdConnectionOptions, "caFile" | "certFile" | "keyFile">;

/**
 * Reads the files; the returned function reads them again. If they are unusable at that time (being replaced, for
 * example), it logs that once and returns the previous contents. Throws ConfigError, on the first reading only.
 */
export function openTlsFiles(files: TlsFiles, logger: Logger): () => SecureContextOptions {
  let usable = readTls(files);
  let logged: string | undefined;
  return () => {
    try {
      usable = readTls(files);
      logged = undefined;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const problem = messageOf(error);
      if (problem !== logged) logger.warn(`Failed to reload TLS files; using the previous ones: ${problem}`);
      logged = problem;
    }
    return usable;
  };
}

/** Throws ConfigError. */
function readTls({ caFile, certFile, keyFile }: TlsFiles): SecureContextOptions {
  // By default Node.js trusts only the authorities compiled into it, not the system's.
  const ca =
    caFile === undefined
      ? [...getCACertificates("default"), ...getCACertificates("system")]
      : readCertificates("--etcd-cafile", caFile);
  if (certFile === undefined && keyFile === undefined) return { ca };
  if (certFile === undefined || keyFile === undefined) {
    throw new ConfigError("--etcd-certfile and --etcd-keyfile go together: give both");
  }
  const cert = readCertificates("--etcd-certfile", certFile);
  const key = readText("--etcd-keyfile", keyFile);
  check({ key }, `--etcd-keyfile: ${keyFile} contains no usable, unencrypted private key`);
  check({ cert, key }, `--etcd-certfile ${certFile} and --etcd-keyfile ${keyFile} do not match`);
  return { ca, cert, key };
}

function readCertificates(flag: string, path: string): string {
  const text = readText(flag, path);
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  const isGood = blocks.length > 0 && blocks.every(isCertificate);
  if (!isGood) throw new ConfigError(`${flag}: ${path} contains no usable certificate in PEM form`);
  return text;
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

function readText(flag: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new ConfigError(
      `${flag}: failed to read ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
    );
  }
}

function check(context: SecureContextOptions, complaint: string): void {
  try {
    createSecureContext(context);
  } catch {
    throw new ConfigError(complaint);
  }
}
