/** Renewal of the own lease, whatever the datastore: by compare-and-swap, never over another host's write (W6). */

import { isDeepStrictEqual } from "node:util";
import { StoreError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { LeaseAttributes, OwnLease } from "./lease.ts";
import { describeOwner, isOwn } from "./ownership.ts";

/** Attempts to renew a record that other hosts keep changing. */
const MAX_ATTEMPTS = 5;

/** What the renewal needs of a datastore. `Version` is what a write compares, `Held` what it returns. */
export interface LeaseRenewer<Version, Held> {
  /** Extends the lease and publishes its attributes, if its record is still `version`; undefined = it is not. */
  extend(version: Version): Promise<Held | undefined>;
  /** The lease's record now; undefined = it was deleted. */
  read(): Promise<StoredRecord<Version> | undefined>;
}

/** A record as it was read. */
export interface StoredRecord<Version> {
  readonly version: Version;
  /** Undefined = its value is malformed, which is no host's and is overwritten. */
  readonly attributes: LeaseAttributes | undefined;
}

/**
 * Extends `lease` and publishes `attributes`. `held` is the record as this host wrote it last; undefined = it has to be
 * read. Throws StoreError: LEASE_LOST, and whatever the renewer throws.
 */
export async function renewLease<Version, Held>(
  renewer: LeaseRenewer<Version, Held>,
  held: Version | undefined,
  lease: OwnLease,
  attributes: LeaseAttributes,
  logger: Logger,
): Promise<Held> {
  let version = held;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    if (version !== undefined) {
      const extended = await renewer.extend(version);
      if (extended !== undefined) return extended;
    }
    const current = await renewer.read();
    if (current === undefined) {
      throw new StoreError("LEASE_LOST", `the lease ${lease.key} of this host is gone: expired or deleted`);
    }
    version = current.version;
    // The stored value may be a renewal whose response was lost.
    const known = [lease.attributes, attributes];
    const theirs = current.attributes;
    if (theirs === undefined || known.some((ours) => isDeepStrictEqual(theirs, ours))) continue;
    if (!isOwn(theirs, { published: known })) {
      throw new StoreError(
        "LEASE_LOST",
        `the lease ${lease.key} of this host now belongs to ${describeOwner(theirs)}`,
      );
    }
    logger.warn(
      `Lease ${lease.key} of this host was changed by another host; check whether a second host has the same public IP`,
    );
  }
  throw new StoreError(
    "LEASE_LOST",
    `the lease ${lease.key} of this host changes faster than it can be renewed`,
  );
}
