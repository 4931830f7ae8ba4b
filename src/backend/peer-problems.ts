/**
 * What makes a lease unusable with any backend. Leases come from the datastore, where every host with access can write: a
 * subnet outside the network, or one that covers our own, would steal traffic.
 */

import { formatIp, type Ip, sameIp } from "../address/ip.ts";
import {
  containsIp,
  containsPrefix,
  formatPrefix,
  overlaps,
  type Prefix,
  prefixOf,
  sizeOf,
} from "../address/prefix.ts";
import type { FamilyConfig } from "../config/network-family.ts";
import type { LocalAddress } from "./backend.ts";

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

/** What a peer's public IP is compared with, in its family. */
export interface PublicIpContext {
  /** The public IP of this host. */
  readonly own: Ip | undefined;
  /** The address that this host's tunnels are bound to. */
  readonly local: Ip | undefined;
  /** Addresses of this host, of any family. */
  readonly localAddresses: readonly LocalAddress[];
  /** The flannel network. */
  readonly network: Prefix;
  /** The subnets of the peer and of this host. */
  readonly subnets: readonly Prefix[];
}

/**
 * What is wrong with the public IP of a peer; undefined = usable. Packets to it have to leave this host, by another way than
 * through the network itself, for one other host.
 */
export function publicIpProblem(ip: Ip | undefined, context: PublicIpContext): string | undefined {
  if (ip === undefined) return "it has no public IP";
  const fault = publicIpFault(ip, context);
  return fault && `its public IP ${formatIp(ip)} is ${fault}`;
}

function publicIpFault(ip: Ip, { own, local, localAddresses, network, subnets }: PublicIpContext) {
  if (!isUnicast(ip)) return "not a unicast address of a host";
  if (own !== undefined && sameIp(ip, own))
    return "this host's own: two hosts have one public IP; give one of them another with --public-ip";
  for (const { ip: other, prefixLength } of localAddresses) {
    if (other.family !== ip.family) continue;
    if (sameIp(other, ip))
      return "an address of this host; give the peer another with --public-ip or --iface";
    const link = prefixOf(other, prefixLength);
    if (isReservedOn(link, ip))
      return `the ${ip.value === link.base ? "network" : "broadcast"} address of ${formatPrefix(link)}, a link of this host, and no host's`;
  }
  const subnet = subnets.find((prefix) => containsIp(prefix, ip));
  if (subnet !== undefined)
    return `inside the subnet ${formatPrefix(subnet)}, where packets to it would loop`;
  // Where the hosts themselves live inside the network, a public IP beside all subnets is one of theirs.
  const isAmongHosts = local !== undefined && containsIp(network, local);
  if (containsIp(network, ip) && !isAmongHosts)
    return `inside the flannel network ${formatPrefix(network)}, where packets to it would loop`;
  return undefined;
}

/** The first and the last address of an IPv4 link are no host's (RFC 919, RFC 1122 §3.2.1.3), except where it has two or one (RFC 3021). */
const isReservedOn = (link: Prefix, ip: Ip): boolean =>
  ip.family === 4 &&
  link.length <= 30 &&
  (ip.value === link.base || ip.value === link.base + sizeOf(link) - 1n);

function isUnicast(ip: Ip): boolean {
  if (ip.family === 4) {
    const firstOctet = Number(ip.value >> 24n);
    return firstOctet !== 0 && firstOctet !== 127 && firstOctet < 224;
  }
  return ip.value > 1n && ip.value >> 120n !== 0xffn;
}
