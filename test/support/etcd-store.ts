/** Opens stores on a test's etcd, v3 or v2. */

import type { Logger } from "../../src/base/logger.ts";
import { openEtcdKeys } from "../../src/lease/etcd/etcd-keys.ts";
import type { EtcdOptions } from "../../src/lease/etcd/etcd-options.ts";
import { openEtcd2Keys } from "../../src/lease/etcd2/etcd2-keys.ts";
import { createKeyLeaseStore, type KeyLeaseStore } from "../../src/lease/keys/key-lease-store.ts";
import type { KeyStorePorts } from "../../src/lease/keys/key-store-ports.ts";
import type { KeyValueStore } from "../../src/lease/keys/key-value-store.ts";

export interface OpenedStore extends AsyncDisposable {
  readonly store: KeyLeaseStore;
  /** Everything that was logged, as "warn message". */
  readonly log: readonly string[];
}

type OpenKeys = (options: EtcdOptions, ports: KeyStorePorts) => KeyValueStore<unknown>;

/** Opens stores without TLS and user unless `options` says otherwise. */
const storeOpener =
  (openKeys: OpenKeys) =>
  (
    endpoints: string | readonly string[],
    options: Partial<EtcdOptions> = {},
    logger?: Logger,
    ports: Omit<KeyStorePorts, "logger"> = {},
  ): OpenedStore => {
    const log: string[] = [];
    const at = (level: string) => (message: string) => void log.push(`${level} ${message}`);
    const recorder: Logger = { info: at("info"), warn: at("warn"), error: at("error"), debug: at("debug") };
    const allOptions = {
      endpoints: typeof endpoints === "string" ? [endpoints] : endpoints,
      prefix: "/coreos.com/network",
      caFile: undefined,
      certFile: undefined,
      keyFile: undefined,
      username: undefined,
      password: undefined,
      ...options,
    };
    const allPorts = { logger: logger ?? recorder, ...ports };
    const store = createKeyLeaseStore(openKeys(allOptions, allPorts), allPorts);
    return { store, log, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
  };

export const openEtcdStore = storeOpener(openEtcdKeys);
export const openEtcd2Store = storeOpener(openEtcd2Keys);
