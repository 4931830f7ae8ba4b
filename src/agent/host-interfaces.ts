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
  type Route,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  routeLengthOf,
} from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { HostInterfaces, InterfaceAddress } from "./external-interface.ts";

/** Looks at the interfaces, addresses and default routes there are now. Throws NetlinkError. */
export function readHostInterfaces(rtnetlink: Rtnetlink): HostInterfaces {
  const addresses = Map.groupBy(rtnetlink.addresses(), ({ ifindex }) => ifindex);
  return {
    interfaces: rtnetlink.links().map((link) => ({
      index: link.index,
      name: link.name,
      mtuBytes: link.mtuBytes,
      up: link.isUp,
      addresses: (addresses.get(link.index) ?? []).flatMap(addressOf),
    })),
    // Only when asked for: it takes a dump of a routing table that may be long.
    defaultRoutes: {
      get ipv4() {
        return defaultRouteIndex(rtnetlink, 4);
      },
      get ipv6() {
        return defaultRouteIndex(rtnetlink, 6);
      },
    },
    lookupRoute(ip) {
      const ifindex = rtnetlink.lookupRoute(formatIp(ip))?.oif;
      return ifindex === undefined ? undefined : { ifindex };
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
      temporary: ip.family === 6 && has(IFA_F_SECONDARY), // the same bit: IFA_F_TEMPORARY
      deprecated: has(IFA_F_DEPRECATED),
      tentative: has(IFA_F_TENTATIVE),
      dadFailed: has(IFA_F_DADFAILED),
    },
  ];
}

/** The interface of the default route with the lowest metric; the first of several ways. */
function defaultRouteIndex(rtnetlink: Rtnetlink, family: 4 | 6): number | undefined {
  let best: Route | undefined;
  for (const message of rtnetlink.connection.dump(getRoutes(family, { table: RT_TABLE_MAIN }))) {
    const route = routeLengthOf(message) === 0 ? decodeRoute(message) : undefined;
    if (route?.table !== RT_TABLE_MAIN || route.type !== RTN_UNICAST) continue;
    if (best === undefined || route.priority < best.priority) best = route;
  }
  return best?.oif ?? best?.nextHops[0]?.oif;
}
