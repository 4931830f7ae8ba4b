/**
 * How a host acquires its lease, whatever the datastore: the one it has already (see ownership.ts), else the subnet of its
 * previous run, else a random one of the first free. Every write is a compare-and-swap; a host that loses a race lists
 * again and picks another (W4).
 */

import type { FamilyName } from "../address/family.ts";
import { formatIp } from "../address/ip.ts";
import { baseOf, formatPrefix, type Prefix } from "../address/prefix.ts";
import { StoreError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { FamilyConfig } from "../config/network-family.ts";
import { createFreeSubnets, drawSubnet, isCompatiblePair } from "./allocation.ts";
import { type Lease, type LeaseAttributes, type OwnLease, type SubnetPair, sameSubnets } from "./lease.ts";
import type { AcquireRequest } from "./lease-store.ts";
import { describeOwner, isOwn, recognizeLeases } from "./ownership.ts";

/** Attempts before a host that keeps losing the race gives up for now. */
const MAX_ATTEMPTS = 10;

/** One key under `subnets/` as it is in the store now. */
export interface StoredLease {
  readonly key: string;
  readonly subnets: SubnetPair;
  /** Undefined = the value is malformed. The subnet is taken nevertheless. */
  readonly attributes: LeaseAttributes | undefined;
  /** See {@link Lease.renewedAt}. */
  readonly renewedAt?: bigint | undefined;
}

/** What the algorithm needs of a datastore. Undefined or false = another host was faster; list again. */
export interface LeaseWriter<Stored extends StoredLease> {
  list(): Promise<readonly Stored[]>;
  /** Creates a lease, if the key is free and no lease created since `list` overlaps it. */
  create(subnets: SubnetPair, attributes: LeaseAttributes): Promise<OwnLease | undefined>;
  /** Extends an existing lease and publishes `attributes`, if it is still as listed. A reservation stays one (W7). */
  refresh(stored: Stored, attributes: LeaseAttributes): Promise<OwnLease | undefined>;
  /** Deletes a lease, if it is still as listed. */
  remove(stored: Stored): Promise<boolean>;
}

/** Throws StoreError: OUT_OF_SUBNETS, CONFLICT (ten races lost), and whatever the writer throws. */
export async function acquireLease<Stored extends StoredLease>(
  writer: LeaseWriter<Stored>,
  request: AcquireRequest,
  random: () => number,
  logger: Logger,
): Promise<OwnLease> {
  const { network, previous } = request;
  let { attributes } = request;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const stored = await writer.list();
    const recognition = await recognizeLeases(stored, { ...request, attributes });
    const { own } = recognition;
    attributes = recognition.attributes;
    const usable = own.filter((lease) => isCompatiblePair(network, lease.subnets));
    const reused =
      usable.find((lease) => previous !== undefined && sameSubnets(lease.subnets, previous)) ?? usable[0];
    if (reused !== undefined) {
      const lease = await writer.refresh(reused, attributes);
      if (lease === undefined) continue;
      if (!isOwn(reused.attributes, { published: [attributes] }))
        logger.info(
          `Lease ${lease.key} of this host's earlier address ${describeOwner(reused.attributes!)} now has address ${describeOwner(attributes)}`,
        );
      return lease;
    }
    for (const lease of own) {
      logger.info(`Deleting lease ${lease.key} of this host; it does not fit the network config`);
    }
    const removed = await Promise.all(own.map((lease) => writer.remove(lease)));
    if (removed.includes(false)) continue;
    const taken = stored.filter((lease) => !own.includes(lease)).map((lease) => lease.subnets);
    const lease = await writer.create(chooseSubnets(request, taken, random, attempt), attributes);
    if (lease !== undefined) return lease;
    logger.debug(`Another host took the subnet first (attempt ${attempt} of ${MAX_ATTEMPTS})`);
  }
  throw new StoreError(
    "CONFLICT",
    `lost the race for a subnet ${MAX_ATTEMPTS} times; many hosts start at once or few subnets are left`,
  );
}

/** Each family by itself: turning IPv6 on does not cost a host its IPv4 subnet. */
function chooseSubnets(
  request: AcquireRequest,
  taken: readonly SubnetPair[],
  random: () => number,
  attempt: number,
): SubnetPair {
  const choose = (family: FamilyName): Prefix | undefined => {
    const config = request.network[family];
    if (config === undefined) return undefined;
    const prefixes = taken.map((pair) => pair[family]).filter((prefix) => prefix !== undefined);
    const free = createFreeSubnets(config, prefixes);
    const previous = request.previous?.[family];
    if (previous !== undefined && free.isFree(previous)) return previous;
    const unused = createFreeSubnets(config, [...prefixes, ...(request.avoid ?? [])]);
    const drawn = drawSubnet(unused, random, attempt) ?? drawSubnet(free, random, attempt);
    if (drawn === undefined) throw outOfSubnets(config, prefixes.length);
    return drawn;
  };
  return { ipv4: choose("ipv4"), ipv6: choose("ipv6") };
}

function outOfSubnets(config: FamilyConfig, taken: number): StoreError {
  const range = `${formatIp(baseOf(config.subnetMin))} to ${formatIp(baseOf(config.subnetMax))}`;
  return new StoreError(
    "OUT_OF_SUBNETS",
    `out of subnets: all /${config.subnetLength} from ${range} in ${formatPrefix(config.network)} are taken (${taken} leases); ` +
      "enlarge the network in the network config, or delete the leases of hosts that no longer exist",
  );
}
