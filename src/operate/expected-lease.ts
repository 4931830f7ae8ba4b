/**
 * Which lease flanneld would have if it started now: the daemon's own algorithm, on a store that takes no writes, or what
 * the datastore has decided.
 */

import type { Logger } from "../base/logger.ts";
import { acquireLease, type StoredLease } from "../lease/acquire.ts";
import { type LeaseAttributes, type OwnLease, type SubnetPair, sameSubnets } from "../lease/lease.ts";
import type { AssignedHost, LeaseRecord } from "../lease/lease-admin.ts";
import type { AcquireRequest } from "../lease/lease-store.ts";
import { isOwn } from "../lease/ownership.ts";

/** The lease that flanneld would have, and why. */
export interface ExpectedLease {
  readonly subnets: SubnetPair;
  readonly lease: OwnLease;
  /** Of all leases that are this host's. */
  readonly keys: readonly string[];
  /** Where it comes from, for operators. */
  readonly origin: string;
}

/** Throws StoreError OUT_OF_SUBNETS. */
export async function expectLease(
  request: AcquireRequest & { readonly records: readonly LeaseRecord[]; readonly logger: Logger },
): Promise<ExpectedLease> {
  const { attributes, previous, records, logger } = request;
  const stored = records.flatMap(({ key, subnets, attributes }): StoredLease[] =>
    subnets === undefined ? [] : [{ key, subnets, attributes }],
  );
  const keys = stored
    .filter((lease) => isOwn(lease.attributes, { published: [attributes] }))
    .map(({ key }) => key);
  const leaseOf = (key: string, subnets: SubnetPair, attributes: LeaseAttributes): OwnLease => ({
    ...{ key, subnets, attributes },
    expiresAtMs: undefined,
  });
  let origin = "";
  const lease = await acquireLease(
    {
      list: async () => stored,
      async create(subnets) {
        const isPrevious = previous !== undefined && sameSubnets(subnets, previous);
        origin = isPrevious
          ? "not leased now: flanneld would acquire it, the subnet of its previous run"
          : "not leased: flanneld would acquire one of the first free subnets, such as this";
        return leaseOf("", subnets, attributes);
      },
      async refresh({ key, subnets }) {
        origin = "leased by this host";
        return leaseOf(key, subnets, attributes);
      },
      remove: async () => true,
    },
    request,
    () => 0,
    logger,
  );
  return { subnets: lease.subnets, lease, keys, origin };
}

/** The lease of a host that is given its subnets. */
export const assignedLease = (
  { key, subnets }: AssignedHost,
  attributes: LeaseAttributes,
): ExpectedLease => ({
  subnets,
  lease: { key, subnets, attributes, expiresAtMs: undefined },
  keys: [key],
  origin: `the podCIDR of node ${key}`,
});
