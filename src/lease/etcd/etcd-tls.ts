/**
 * The TLS files that the flags name. They are read and checked at the start, so that a bad one is a {@link ConfigError}
 * with its flag and path before the first connection (W10), and again for each new connection: certificates that are
 * replaced on disk before they expire need no restart.
 */

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, getCACertificates, type SecureContextOptions } from "node:tls";
import { ConfigError, messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import type { EtcdConnectionOptions } from "../../config/options-etcd.ts";

type TlsFiles = Pick<EtcdConnectionOptions, "caFile" | "certFile" | "keyFile">;

/**
 * Reads the files; the returned function reads them again. If they cannot be used then (half-way through being
 * replaced, perhaps), it says so and gives what they held before. Throws ConfigError, now only.
 */
export function openTlsFiles(files: TlsFiles, logger: Logger): () => SecureContextOptions {
  let usable = readTls(files);
  let told: string | undefined;
  return () => {
    try {
      usable = readTls(files);
      told = undefined;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const problem = messageOf(error);
      if (problem !== told) logger.warn(`going on with the certificates as they were: ${problem}`);
      told = problem;
    }
    return usable;
  };
}

/** Throws ConfigError. */
function readTls({ caFile, certFile, keyFile }: TlsFiles): SecureContextOptions {
  // Node.js trusts only the authorities compiled into it unless told of the machine's own.
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
  check({ key }, `--etcd-keyfile: ${keyFile} holds no usable, unencrypted private key`);
  check({ cert, key }, `--etcd-certfile ${certFile} and --etcd-keyfile ${keyFile} do not belong together`);
  return { ca, cert, key };
}

function readCertificates(flag: string, path: string): string {
  const text = readText(flag, path);
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  const isGood = blocks.length > 0 && blocks.every(isCertificate);
  if (!isGood) throw new ConfigError(`${flag}: ${path} holds no usable certificate in PEM form`);
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
      `${flag}: cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
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
