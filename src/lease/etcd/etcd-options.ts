/**
 * How to speak to etcd: the flags' values with the files they name read and checked, so that a bad file is a
 * {@link ConfigError} with its flag and path before the first connection (W10).
 */

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, getCACertificates, type SecureContextOptions } from "node:tls";
import { ConfigError } from "../../base/error.ts";
import type { EtcdConnectionOptions } from "../../config/options-etcd.ts";

export interface EtcdOptions extends EtcdConnectionOptions {
  readonly timings?: Partial<EtcdTimings>;
}

/** All in ms unless named otherwise; the defaults are right outside of tests. */
export interface EtcdTimings {
  /** Life of a lease that is not renewed, in seconds. */
  readonly leaseTtlSeconds: number;
  /** Longest wait for a connection to one endpoint. */
  readonly dialTimeoutMs: number;
  /** Longest wait for the answer to one request at one endpoint. */
  readonly requestTimeoutMs: number;
  /** Silence after which a connection with an open stream is pinged; etcd refuses less than 5 s. */
  readonly keepaliveIntervalMs: number;
  /** Longest wait for the answer to a ping. */
  readonly keepaliveTimeoutMs: number;
  /** First and longest pause between attempts to get a broken watch back. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

const DEFAULT_TIMINGS: EtcdTimings = {
  leaseTtlSeconds: 86_400,
  dialTimeoutMs: 2_000,
  requestTimeoutMs: 5_000,
  keepaliveIntervalMs: 10_000,
  keepaliveTimeoutMs: 5_000,
  retryMinMs: 100,
  retryMaxMs: 10_000,
};

/** {@link EtcdOptions}, checked. */
export interface EtcdSettings {
  readonly endpoints: readonly string[];
  readonly prefix: string;
  /** Undefined if no endpoint is https. */
  readonly tls: SecureContextOptions | undefined;
  readonly user: { readonly name: string; readonly password: string } | undefined;
  readonly timings: EtcdTimings;
  /** Things an operator should read. */
  readonly notes: readonly string[];
}

/** Reads the files that the options name. Throws {@link ConfigError}. */
export function readEtcdSettings(options: EtcdOptions): EtcdSettings {
  const { endpoints, prefix, username, password } = options;
  const plain = endpoints.filter((endpoint) => endpoint.startsWith("http:"));
  const usesFiles = [options.caFile, options.certFile, options.keyFile].some((path) => path !== undefined);
  if (usesFiles && plain.length > 0) {
    throw new ConfigError(
      `--etcd-endpoints: certificates are of no use with ${plain.join(",")}, which is not encrypted: write https://`,
    );
  }
  const user = username === undefined ? undefined : { name: username, password: password ?? "" };
  const notes =
    user !== undefined && plain.length > 0
      ? [`the password of etcd user ${user.name} goes unencrypted to ${plain.join(",")}`]
      : [];
  return {
    endpoints,
    prefix,
    tls: plain.length < endpoints.length ? readTls(options) : undefined,
    user,
    timings: { ...DEFAULT_TIMINGS, ...options.timings },
    notes,
  };
}

function readTls({ caFile, certFile, keyFile }: EtcdOptions): SecureContextOptions {
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
