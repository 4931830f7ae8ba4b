/**
 * Which leases are peers that this host may route to. Leases come from the datastore, where anybody with access can
 * write: a subnet outside the network, or one that covers our own, would steal traffic and is refused here, once for
 * all backends.
 */

import { formatIp, type Ip, sameIp } from "../address/ip.ts";
import { containsPrefix, formatPrefix, overlaps, type Prefix } from "../address/prefix.ts";
import type { FamilyConfig } from "../config/network-family.ts";
import type { Lease } from "../lease/lease.ts";
import type { PlanInput } from "./backend.ts";

/** What is wrong with a peer's subnet of one family; undefined = may be routed to. */
export function subnetProblem(
  subnet: Prefix,
  family: FamilyConfig,
  own: Prefix | undefined,
): string | undefined {
  if (!containsPrefix(family.network, subnet) || subnet.length <= family.network.length) {
    return `subnet ${formatPrefix(subnet)} is not inside the network ${formatPrefix(family.network)}`;
  }
  if (own !== undefined && overlaps(subnet, own)) {
    return `subnet ${formatPrefix(subnet)} overlaps this host's own subnet ${formatPrefix(own)}`;
  }
  return undefined;
}

/** What is wrong with the address at which a peer wants to be reached; undefined = usable. */
export function publicIpProblem(ip: Ip | undefined, own: Ip | undefined): string | undefined {
  if (ip === undefined) return "it has no public IP";
  if (!isUnicast(ip)) return `its public IP ${formatIp(ip)} is not a unicast address of a host`;
  if (own !== undefined && sameIp(ip, own)) {
    return `its public IP ${formatIp(ip)} is this host's own: two hosts have one public IP; give one of them another with --public-ip`;
  }
  return undefined;
}

/** The peers of one backend type, in the order of their keys, so that a plan does not depend on the order of events. */
export const peersOfType = (input: PlanInput, type: string): Lease[] =>
  [...(input.peers ?? [])]
    .filter((peer) => peer.attributes.backendType === type)
    .sort((a, b) => (a.key < b.key ? -1 : 1));

function isUnicast(ip: Ip): boolean {
  if (ip.family === 4) {
    const firstOctet = Number(ip.value >> 24n);
    return firstOctet !== 0 && firstOctet !== 127 && firstOctet < 224;
  }
  return ip.value > 1n && ip.value >> 120n !== 0xffn;
}
