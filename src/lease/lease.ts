/** What a lease is: the claim of one host on one subnet per family, and what its peers must know to reach it. */

import type { Ip } from "../address/ip.ts";
import { formatPrefix, overlaps, type Prefix, sameOptionalPrefix, samePrefix } from "../address/prefix.ts";

/** A host's subnets; at least one of them is set. */
export interface SubnetPair {
  readonly ipv4: Prefix | undefined;
  readonly ipv6: Prefix | undefined;
}

/** "10.5.1.0/24", "10.5.1.0/24, fc00:0:0:1::/64". */
export const describeSubnets = (subnets: SubnetPair): string =>
  [subnets.ipv4, subnets.ipv6]
    .flatMap((subnet) => (subnet === undefined ? [] : [formatPrefix(subnet)]))
    .join(", ");

/** Whether both name the same subnets. */
export const sameSubnets = (a: SubnetPair, b: SubnetPair): boolean =>
  sameOptionalPrefix(a.ipv4, b.ipv4) && sameOptionalPrefix(a.ipv6, b.ipv6);

/** Whether `pair` has each subnet of `wanted`. It may have one more. */
export const includesSubnets = (pair: SubnetPair, wanted: SubnetPair): boolean =>
  includesSubnet(pair.ipv4, wanted.ipv4) && includesSubnet(pair.ipv6, wanted.ipv6);

const includesSubnet = (subnet: Prefix | undefined, wanted: Prefix | undefined): boolean =>
  wanted === undefined || (subnet !== undefined && samePrefix(subnet, wanted));

/** Whether the two share any address. */
export const overlapsPair = (a: SubnetPair, b: SubnetPair): boolean =>
  (a.ipv4 !== undefined && b.ipv4 !== undefined && overlaps(a.ipv4, b.ipv4)) ||
  (a.ipv6 !== undefined && b.ipv6 !== undefined && overlaps(a.ipv6, b.ipv6));

/** What a host publishes for its peers. JSON values are kept unchecked: each backend checks its own. */
export interface LeaseAttributes {
  readonly publicIp: Ip | undefined;
  readonly publicIpv6: Ip | undefined;
  /** "vxlan", "host-gw"…; empty for backends that write none (udp, alloc, cloud). */
  readonly backendType: string;
  /** Any JSON value; undefined = absent. For vxlan `{"VNI":1,"VtepMAC":"…"}`. */
  readonly backendData: unknown;
  readonly backendV6Data: unknown;
}

/** One lease as read from a store. Immutable: a change is a new object, so that identity means “nothing changed”. */
export interface Lease {
  /** The key under `subnets/` ("10.5.52.0-24", "10.5.52.0-24&fc00:0:0:34::-64") or the node's name; unique within a network. */
  readonly key: string;
  readonly subnets: SubnetPair;
  readonly attributes: LeaseAttributes;
  /**
   * When the lease was established, as a number that the datastore gives: a smaller one is earlier. All hosts read the same
   * number. etcd: the key's creation revision; Kubernetes: the node's creation time. Undefined = unknown.
   */
  readonly establishedAt?: bigint | undefined;
  /**
   * When a host wrote the lease last, as a number that the datastore gives (etcd: the key's modification revision). Undefined
   * = unknown, or no host renews it: a reservation, a node's.
   */
  readonly renewedAt?: bigint | undefined;
}

/** The lease of this host, with what is needed to renew it. */
export interface OwnLease extends Lease {
  /** Wall-clock time of expiry in ms since the epoch; undefined = it never expires: a reservation, a node's. */
  readonly expiresAtMs: number | undefined;
}
