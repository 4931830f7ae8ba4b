/** Stores on a test's etcd, with the little that differs between tests. */

import type { Logger } from "../../src/base/logger.ts";
import { createEtcdLeaseStore, type EtcdLeaseStore } from "../../src/lease/etcd/etcd-lease-store.ts";
import type { EtcdOptions } from "../../src/lease/etcd/etcd-options.ts";
import type { EtcdPorts } from "../../src/lease/etcd/etcd-ports.ts";

export interface OpenedStore extends AsyncDisposable {
  readonly store: EtcdLeaseStore;
  /** Everything that was logged, as "warn message". */
  readonly log: readonly string[];
}

/** Without TLS and user unless `options` says otherwise. */
export function openEtcdStore(
  endpoints: string | readonly string[],
  options: Partial<EtcdOptions> = {},
  logger?: Logger,
  ports: Omit<EtcdPorts, "logger"> = {},
): OpenedStore {
  const log: string[] = [];
  const at = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const recorder: Logger = { info: at("info"), warn: at("warn"), error: at("error"), debug: at("debug") };
  const store = createEtcdLeaseStore(
    {
      endpoints: typeof endpoints === "string" ? [endpoints] : endpoints,
      prefix: "/coreos.com/network",
      caFile: undefined,
      certFile: undefined,
      keyFile: undefined,
      username: undefined,
      password: undefined,
      ...options,
    },
    { logger: logger ?? recorder, ...ports },
  );
  return { store, log, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}
