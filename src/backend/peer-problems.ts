/**
 * What makes a lease unusable, whatever the backend. Leases come from the datastore, where anybody with access can write: a
 * subnet outside the network, or one that covers our own, would steal traffic.
 */

import { formatIp, type Ip, sameIp } from "../address/ip.ts";
import { containsPrefix, formatPrefix, overlaps, type Prefix } from "../address/prefix.ts";
import type { FamilyConfig } from "../config/network-family.ts";

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

/** What is wrong with the public IP of a peer (`own` is that of this host); undefined = usable. */
export function publicIpProblem(ip: Ip | undefined, own: Ip | undefined): string | undefined {
  if (ip === undefined) return "it has no public IP";
  if (!isUnicast(ip)) return `its public IP ${formatIp(ip)} is not a unicast address of a host`;
  if (own !== undefined && sameIp(ip, own)) {
    return `its public IP ${formatIp(ip)} is this host's own: two hosts have one public IP; give one of them another with --public-ip`;
  }
  return undefined;
}

function isUnicast(ip: Ip): boolean {
  if (ip.family === 4) {
    const firstOctet = Number(ip.value >> 24n);
    return firstOctet !== 0 && firstOctet !== 127 && firstOctet < 224;
  }
  return ip.value > 1n && ip.value >> 120n !== 0xffn;
}
