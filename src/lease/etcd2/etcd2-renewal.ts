/** Renewal of the own lease: never over somebody else's head (W6). */

import { isDeepStrictEqual } from "node:util";
import { formatIp, type Ip, sameIp } from "../../address/ip.ts";
import { StoreError } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import type { LeaseAttributes, OwnLease } from "../lease.ts";
import { extendRecord, type Held } from "./etcd2-record-writes.ts";
import { type Etcd2Record, type RecordState, type RecordStore, readRecord } from "./etcd2-records.ts";

/** How often a record that others keep changing is read again. */
const MAX_ATTEMPTS = 5;

/**
 * Extends `lease` and publishes `attributes`. `held` is the record as this host wrote it last; undefined = it has to be
 * read. Throws StoreError: LEASE_LOST, and whatever the connection throws.
 */
export async function renewRecord(
  store: RecordStore,
  held: RecordState | undefined,
  lease: OwnLease,
  attributes: LeaseAttributes,
  logger: Logger,
): Promise<Held> {
  let record = held;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    if (record !== undefined) {
      const extended = await extendRecord(store, record, lease.subnets, attributes);
      if (extended !== undefined) return extended;
    }
    const current = await readRecord(store, lease.key);
    if (current === undefined) {
      throw new StoreError("LEASE_LOST", `the lease ${lease.key} of this host is gone: expired or deleted`);
    }
    refuseForeign(current, lease, attributes);
    // What is written already may be a renewal whose answer was lost.
    const isKnown = [lease.attributes, attributes].some((ours) =>
      isDeepStrictEqual(current.attributes, ours),
    );
    if (current.attributes !== undefined && !isKnown) {
      logger.warn(
        `the lease ${lease.key} of this host was changed by another: does a second host use the same public address?`,
      );
    }
    // Junk belongs to nobody: it is written over, with the life that the lease had.
    record =
      current.attributes === undefined ? { ...current, hasTtl: lease.expiresAtMs !== undefined } : current;
  }
  throw new StoreError(
    "LEASE_LOST",
    `the lease ${lease.key} of this host changes faster than it can be renewed`,
  );
}

/** Throws LEASE_LOST if the record is another host's. */
function refuseForeign(
  { attributes: theirs }: Etcd2Record,
  lease: OwnLease,
  attributes: LeaseAttributes,
): void {
  if (theirs === undefined) return;
  const isOurs = [lease.attributes, attributes].some((ours) =>
    ours.publicIp !== undefined && theirs.publicIp !== undefined
      ? sameIp(ours.publicIp, theirs.publicIp)
      : isSameIp(ours.publicIpv6, theirs.publicIpv6),
  );
  if (isOurs) return;
  const owner = theirs.publicIp ?? theirs.publicIpv6;
  throw new StoreError(
    "LEASE_LOST",
    `the lease ${lease.key} of this host now belongs to ${owner === undefined ? "another host" : formatIp(owner)}`,
  );
}

const isSameIp = (a: Ip | undefined, b: Ip | undefined): boolean =>
  a !== undefined && b !== undefined && sameIp(a, b);
