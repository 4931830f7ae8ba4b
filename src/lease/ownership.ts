/**
 * Which host a lease belongs to: the one rule, for every decision that depends on it.
 *
 * A host is known by its public IPv4 address, as in Go flannel; by its public IPv6 address where one of the two has no
 * IPv4, because in an IPv6-only network all hosts would share the same “no IPv4 address” (W9). Neither subnet nor key
 * says anything: a subnet that expired may be another host's by now.
 */

import { formatIp, sameIp } from "../address/ip.ts";
import type { LeaseAttributes } from "./lease.ts";

/** The addresses by which a host is known. */
export type HostAddresses = Pick<LeaseAttributes, "publicIp" | "publicIpv6">;

/** What a host knows about itself, by which it recognises a lease as its own. Each member is one kind of evidence. */
export interface OwnEvidence {
  /** What it publishes, and what it published before and the datastore may still hold. */
  readonly published: readonly HostAddresses[];
}

/** Whether both are the same host's. Two hosts without any address in a common family are not. */
export function isSameHost(a: HostAddresses, b: HostAddresses): boolean {
  if (a.publicIp !== undefined && b.publicIp !== undefined) return sameIp(a.publicIp, b.publicIp);
  return a.publicIpv6 !== undefined && b.publicIpv6 !== undefined && sameIp(a.publicIpv6, b.publicIpv6);
}

/** Whether a lease with these attributes is this host's own. Undefined attributes (malformed) are nobody's. */
export const isOwn = (attributes: LeaseAttributes | undefined, { published }: OwnEvidence): boolean =>
  attributes !== undefined && published.some((own) => isSameHost(own, attributes));

/** The host that a lease belongs to, for a message: "192.168.0.9", or "another host" if it has no address. */
export function describeOwner({ publicIp, publicIpv6 }: HostAddresses): string {
  const ip = publicIp ?? publicIpv6;
  return ip === undefined ? "another host" : formatIp(ip);
}
