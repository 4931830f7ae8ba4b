/** The settings of a connection to etcd: the checked values of the flags, with the files that they name. */

import type { SecureContextOptions } from "node:tls";
import { ConfigError } from "../../base/error.ts";
import { type Logger, silentLogger } from "../../base/logger.ts";
import type { EtcdConnectionOptions } from "../../config/options-etcd.ts";
import { openTlsFiles } from "./etcd-tls.ts";

/** The connection's options, and the times (ms) that tests shorten; defaults for those left out. */
export interface EtcdOptions extends EtcdConnectionOptions {
  readonly timings?: Partial<EtcdTimings>;
}

/** All in ms unless named otherwise; the defaults are right outside of tests. */
interface EtcdTimings {
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
  /** First and longest pause between attempts to restore a broken watch. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** How long leases that were lost with etcd's data still count: their hosts are alive and write them again. */
  readonly lostDataGraceMs: number;
}

const DEFAULT_TIMINGS: EtcdTimings = {
  leaseTtlSeconds: 86_400,
  dialTimeoutMs: 2_000,
  requestTimeoutMs: 5_000,
  keepaliveIntervalMs: 10_000,
  keepaliveTimeoutMs: 5_000,
  retryMinMs: 100,
  retryMaxMs: 10_000,
  lostDataGraceMs: 60_000,
};

/** {@link EtcdOptions}, checked. */
export interface EtcdSettings {
  readonly endpoints: readonly string[];
  readonly prefix: string;
  /** Reads the current files, for a new connection; undefined if no endpoint is https. */
  readonly readTls: (() => SecureContextOptions) | undefined;
  readonly user: { readonly name: string; readonly password: string } | undefined;
  readonly timings: EtcdTimings;
}

/** Reads the files that the options name; `logger` receives warnings, also of later faults in them. Throws {@link ConfigError}. */
export function readEtcdSettings(options: EtcdOptions, logger: Logger = silentLogger): EtcdSettings {
  const { endpoints, prefix, username, password } = options;
  const plain = endpoints.filter((endpoint) => endpoint.startsWith("http:"));
  const usesFiles = [options.caFile, options.certFile, options.keyFile].some((path) => path !== undefined);
  if (usesFiles && plain.length > 0) {
    throw new ConfigError(
      `--etcd-endpoints: certificates have no effect with ${plain.join(",")}, which is not encrypted: write https://`,
    );
  }
  const user = username === undefined ? undefined : { name: username, password: password ?? "" };
  if (user !== undefined && plain.length > 0) {
    logger.warn(
      `Password of etcd user ${JSON.stringify(user.name)} is sent unencrypted to ${plain.join(",")}; use https://`,
    );
  }
  return {
    endpoints,
    prefix,
    readTls: plain.length < endpoints.length ? openTlsFiles(options, logger) : undefined,
    user,
    timings: { ...DEFAULT_TIMINGS, ...options.timings },
  };
}
