/**
 * The leases of a network as this host knows them: snapshots and changes of a store applied to a map.
 *
 * A lease that did not change keeps its object, so that a comparison by identity shows that nothing changed.
 */

import { isDeepStrictEqual } from "node:util";
import type { Ip } from "../address/ip.ts";
import type { Lease } from "./lease.ts";
import type { LeaseUpdate } from "./lease-store.ts";

/** All leases by key, the own one included. */
export interface LeaseTable {
  /** Applies an update; true = a lease came, went or has other content. A snapshot replaces everything. */
  apply(update: LeaseUpdate): boolean;
  get(key: string): Lease | undefined;
  /** All leases but the one with `ownKey`, in the order in which they came. */
  peers(ownKey: string | undefined): readonly Lease[];
  /** Public addresses that more than one lease names: only one of these hosts can be reached. */
  sharedPublicIps(): readonly SharedPublicIp[];
  readonly size: number;
}

/** Several leases of one public address. */
export interface SharedPublicIp {
  readonly ip: Ip;
  readonly leases: readonly Lease[];
}

/** An empty table. */
export function createLeaseTable(): LeaseTable {
  let leases: Map<string, Lease> = new Map();

  return {
    apply(update) {
      switch (update.type) {
        case "snapshot": {
          const before = leases;
          leases = new Map();
          for (const lease of update.leases) leases.set(lease.key, keepIfSame(before.get(lease.key), lease));
          return (
            leases.size !== before.size ||
            [...leases].some(([key, lease]) => !hasContentOf(before.get(key), lease))
          );
        }
        case "put": {
          const before = leases.get(update.lease.key);
          const lease = keepIfSame(before, update.lease);
          leases.set(lease.key, lease);
          return !hasContentOf(before, lease);
        }
        case "delete":
          return leases.delete(update.key);
      }
    },
    get: (key) => leases.get(key),
    peers: (ownKey) =>
      leases
        .values()
        .filter((lease) => lease.key !== ownKey)
        .toArray(),
    sharedPublicIps() {
      const shared: SharedPublicIp[] = [];
      for (const name of ["publicIp", "publicIpv6"] as const) {
        const first = new Map<bigint, Lease>();
        const groups = new Map<bigint, { readonly ip: Ip; readonly leases: Lease[] }>();
        for (const lease of leases.values()) {
          const ip = lease.attributes[name];
          if (ip === undefined) continue;
          const other = first.get(ip.value);
          const group = groups.get(ip.value);
          if (other === undefined) first.set(ip.value, lease);
          else if (group === undefined) groups.set(ip.value, { ip, leases: [other, lease] });
          else group.leases.push(lease);
        }
        shared.push(...groups.values());
      }
      return shared;
    },
    get size() {
      return leases.size;
    },
  };
}

const keepIfSame = (before: Lease | undefined, now: Lease): Lease =>
  before !== undefined && isDeepStrictEqual(before, now) ? before : now;

/** A renewal is no change of a lease's content, although it is one of its age. */
const hasContentOf = (before: Lease | undefined, now: Lease): boolean =>
  before === now ||
  (before !== undefined &&
    isDeepStrictEqual([before.subnets, before.attributes], [now.subnets, now.attributes]));
