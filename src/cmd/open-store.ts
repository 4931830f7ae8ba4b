/** Opens the store that the options name: the one place that knows all of them. */

import { ConfigError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { DatastoreOptions } from "../config/options-datastore.ts";
import { createEtcdLeaseAdmin } from "../lease/etcd/etcd-lease-admin.ts";
import { createEtcdLeaseStore } from "../lease/etcd/etcd-lease-store.ts";
import type { LeaseAdmin } from "../lease/lease-admin.ts";
import type { LeaseStore } from "../lease/lease-store.ts";

/** The store for flanneld. Throws ConfigError. */
export function openLeaseStore(options: DatastoreOptions, logger: Logger): LeaseStore {
  switch (options.kind) {
    case "etcd3":
      return createEtcdLeaseStore(options.etcd, { logger });
    case "etcd2":
    case "embedded":
      throw notYet(options.kind);
  }
}

/** The operator's side of the store for flannelctl, which reaches an embedded one where flanneld serves it. Throws ConfigError. */
export function openLeaseAdmin(options: DatastoreOptions, logger: Logger): LeaseAdmin {
  switch (options.kind) {
    case "etcd3":
    case "embedded":
      return createEtcdLeaseAdmin(options.etcd, { logger });
    case "etcd2":
      throw notYet(options.kind);
  }
}

/** Where the network config is, in an operator's words. */
export const configPlaceOf = ({ etcd }: DatastoreOptions): string => `etcd key ${etcd.prefix}/config`;

const notYet = (kind: string): ConfigError =>
  new ConfigError(`--datastore=${kind} is not supported by this version yet: use etcd3`);
