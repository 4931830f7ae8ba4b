/** What the choice of the external interface is made from, read from this host's kernel. */

import { formatIp, parseIp } from "../address/ip.ts";
import {
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_PERMANENT,
  IFA_F_SECONDARY,
  IFA_F_TENTATIVE,
  type InterfaceAddress as KernelAddress,
} from "../netlink/address.ts";
import {
  decodeRoute,
  getRoutes,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  routeLengthOf,
} from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { DefaultRoute, HostInterfaces, InterfaceAddress } from "./network-interface.ts";

/** ARPHRD_LOOPBACK (linux/if_arp.h). */
const ARPHRD_LOOPBACK = 772;

/** Reads the interfaces and addresses now, default routes when they are needed. Throws NetlinkError. */
export function readHostInterfaces(rtnetlink: Rtnetlink): HostInterfaces {
  const addresses = Map.groupBy(rtnetlink.addresses(), ({ ifindex }) => ifindex);
  // It takes a dump of a routing table that may be long: only if needed, and once.
  const routes = new Map<4 | 6, DefaultRoute[]>();
  const defaultRoutes = (family: 4 | 6): DefaultRoute[] => {
    if (!routes.has(family)) routes.set(family, readDefaultRoutes(rtnetlink, family));
    return routes.get(family)!;
  };
  return {
    interfaces: rtnetlink.links().map((link) => ({
      index: link.index,
      name: link.name,
      kind: link.kind,
      isLoopback: link.hardwareType === ARPHRD_LOOPBACK,
      mtuBytes: link.mtuBytes,
      up: link.isUp,
      masterIndex: link.masterIndex,
      lowerIndex: link.linkNetNsId === undefined ? (link.linkIndex ?? link.vxlan?.lowerIndex) : undefined,
      addresses: (addresses.get(link.index) ?? []).flatMap(addressOf),
    })),
    defaultRoutes: {
      get ipv4() {
        return defaultRoutes(4);
      },
      get ipv6() {
        return defaultRoutes(6);
      },
    },
    lookupRoute(ip, ifindex) {
      const route = rtnetlink.lookupRoute(formatIp(ip), ifindex);
      if (route?.oif === undefined) return undefined;
      return { ifindex: route.oif, source: route.prefsrc === undefined ? undefined : parseIp(route.prefsrc) };
    },
  };
}

function addressOf(address: KernelAddress): InterfaceAddress[] {
  const ip = parseIp(address.address);
  if (ip === undefined) return [];
  const has = (flag: number) => (address.flags & flag) !== 0;
  return [
    {
      ip,
      prefixLength: address.prefixLength,
      scope: address.scope === RT_SCOPE_LINK ? "link" : address.scope >= RT_SCOPE_HOST ? "host" : "global",
      permanent: has(IFA_F_PERMANENT),
      secondary: ip.family === 4 && has(IFA_F_SECONDARY),
      temporary: ip.family === 6 && has(IFA_F_SECONDARY), // the same bit: IFA_F_TEMPORARY
      deprecated: has(IFA_F_DEPRECATED),
      tentative: has(IFA_F_TENTATIVE),
      dadFailed: has(IFA_F_DADFAILED),
    },
  ];
}

function readDefaultRoutes(rtnetlink: Rtnetlink, family: 4 | 6): DefaultRoute[] {
  return rtnetlink.connection.dump(getRoutes(family, { table: RT_TABLE_MAIN })).flatMap((message) => {
    const route = routeLengthOf(message) === 0 ? decodeRoute(message) : undefined;
    if (route?.table !== RT_TABLE_MAIN || route.type !== RTN_UNICAST) return [];
    const indexes = [route.oif, ...route.nextHops.map(({ oif }) => oif)].filter(
      (index) => index !== undefined,
    );
    const source = route.prefsrc === undefined ? undefined : parseIp(route.prefsrc);
    return [{ indexes, metric: route.priority, source }];
  });
}
