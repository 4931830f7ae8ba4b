/**
 * What this host uses itself of the addresses of the flannel network: its own addresses, and the routes that flannel did
 * not create. No subnet is drawn from them: the host would lose its own network to its containers.
 */

import type { Family } from "../address/ip.ts";
import { bitsOf, parseIp } from "../address/ip.ts";
import { containsPrefix, overlaps, type Prefix, parsePrefix, prefixOf } from "../address/prefix.ts";
import { FLANNEL_DEVICES } from "../backend/backends.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import {
  decodeRoute,
  getRoutes,
  type Route,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  RTPROT_BOOT,
  RTPROT_KERNEL,
  RTPROT_STATIC,
  routeLengthOf,
  routeProtocolOf,
} from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";

/** Routes of routing daemons are left out: their tables are long, and their operators know them. */
const PROTOCOLS = [RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC];

/** Routes of the main table that neither flanneld nor a routing daemon created; `types`: RTN_…. Throws NetlinkError. */
export function foreignRoutes(
  rtnetlink: Rtnetlink,
  family: Family,
  types: readonly number[] = [RTN_UNICAST],
): Route[] {
  return rtnetlink.connection
    .dump(getRoutes(family, { table: RT_TABLE_MAIN }))
    .filter((message) => routeLengthOf(message) > 0 && PROTOCOLS.includes(routeProtocolOf(message)))
    .flatMap((message) => decodeRoute(message) ?? [])
    .filter(({ table, type }) => table === RT_TABLE_MAIN && types.includes(type));
}

/**
 * Prefixes inside the networks that this host uses itself, for {@link AcquireRequest.avoid}. A prefix that covers a whole
 * network is left out: a host whose LAN is 10.0.0.0/8 can have subnets of 10.5.0.0/16. Throws NetlinkError.
 */
export function usedPrefixes(rtnetlink: Rtnetlink, network: NetworkFamilies): Prefix[] {
  const networks = [network.ipv4, network.ipv6].flatMap((config) => (config === undefined ? [] : [config]));
  const own = new Set(
    rtnetlink
      .links()
      .filter(({ name }) => FLANNEL_DEVICES.some((device) => device.name.test(name)))
      .map(({ index }) => index),
  );
  const isOwn = (index: number | undefined) => index !== undefined && own.has(index);
  const addresses = rtnetlink
    .addresses()
    .filter(({ ifindex }) => !isOwn(ifindex))
    .flatMap(({ address }) => {
      const ip = parseIp(address);
      return ip === undefined ? [] : [prefixOf(ip, bitsOf(ip.family))];
    });
  const routes = networks
    .flatMap((config) => foreignRoutes(rtnetlink, config.network.family))
    .filter(({ oif, nextHops }) => !isOwn(oif ?? nextHops[0]?.oif))
    .flatMap(({ destination }) => parsePrefix(destination) ?? []);
  return [...addresses, ...routes].filter((prefix) =>
    networks.some((config) => overlaps(prefix, config.network) && !containsPrefix(prefix, config.network)),
  );
}
