/** Between the kernel's objects (rtnetlink) and ours: which of them are ours, and what they look like as state. */

import { containsPrefix, parsePrefix } from "../address/prefix.ts";
import type { InterfaceAddress } from "../netlink/address.ts";
import type { Link } from "../netlink/link.ts";
import {
  type FdbEntry as KernelFdbEntry,
  type Neighbour as KernelNeighbour,
  NTF_EXT_LEARNED,
  NUD_PERMANENT,
} from "../netlink/neighbour.ts";
import {
  type Route as KernelRoute,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_UNICAST,
  RTPROT_BOOT,
} from "../netlink/route.ts";
import type { Ownership } from "./kernel.ts";
import {
  type DeviceAddress,
  type FdbEntry,
  type ForeignLink,
  type Neighbour,
  type Route,
  RTPROT_FLANNEL,
  type TunLink,
  type VxlanLink,
} from "./objects.ts";

/** Layer 3, unlike TAP (linux/if_tun.h). */
const IFF_TUN = 1;
/** Metric of an IPv6 route to which none was given (net/ipv6: IP6_RT_PRIO_USER). */
const IP6_RT_PRIO_USER = 1024;
/** The last: whatever else leads to the destination (the route of a bridge, above all) goes first. */
export const BLACKHOLE_METRIC = 2 ** 32 - 1;

/** A device that bears one of our names. `lowerName` = name of the device with index `link.vxlan.lowerIndex`. */
export function stateOfLink(link: Link, lowerName: string): VxlanLink | TunLink | ForeignLink {
  const { vxlan, tun } = link;
  if (tun?.type === IFF_TUN) {
    return { kind: "link", name: link.name, type: "tun", mtuBytes: link.mtuBytes, up: link.isUp };
  }
  if (vxlan === undefined || vxlan.collectMetadata === true) {
    return { kind: "link", name: link.name, type: "foreign", linkKind: link.kind ?? "hardware" };
  }
  return {
    kind: "link",
    name: link.name,
    type: "vxlan",
    vni: vxlan.vni ?? 0,
    lower: lowerName,
    local: vxlan.local ?? "",
    port: vxlan.port ?? 0,
    learning: vxlan.learning ?? true,
    gbp: vxlan.gbp ?? false,
    mtuBytes: link.mtuBytes,
    mac: link.mac ?? "",
    up: link.isUp,
  };
}

/** An address of a device of ours; the kernel's own link-local ones are not ours. */
export function stateOfAddress(address: InterfaceAddress, device: string): DeviceAddress | undefined {
  if (address.family === 6 && address.address.startsWith("fe80:")) return undefined;
  return { kind: "address", device, address: address.prefix };
}

/**
 * A route that is ours: made by us, or leading through a device of ours into one of our networks; or one that may be
 * Go flannel's: through a gateway into one of our networks, and without anybody's mark.
 */
export function stateOfRoute(route: KernelRoute, device: string, ownership: Ownership): Route | undefined {
  if (route.table !== RT_TABLE_MAIN || route.tos !== 0 || route.nextHops.length > 0) return undefined;
  const { destination, protocol } = route;
  if (route.type === RTN_BLACKHOLE) {
    if (protocol !== RTPROT_FLANNEL || route.priority !== BLACKHOLE_METRIC) return undefined;
    return {
      kind: "route",
      type: "blackhole",
      destination,
      device: "",
      via: undefined,
      onlink: false,
      protocol,
    };
  }
  if (route.type !== RTN_UNICAST || route.priority !== (route.family === 4 ? 0 : IP6_RT_PRIO_USER))
    return undefined;
  if (protocol !== RTPROT_FLANNEL) {
    const isUnmarkedGateway = protocol === RTPROT_BOOT && route.gateway !== undefined;
    if (!ownership.devices.has(device) && !isUnmarkedGateway) return undefined;
    const prefix = parsePrefix(destination);
    if (prefix === undefined || !ownership.networks.some((network) => containsPrefix(network, prefix)))
      return undefined;
  }
  return { kind: "route", destination, device, via: route.gateway, onlink: route.onlink, protocol };
}

/** A permanent neighbour of a device of ours; what the kernel resolved or noted by itself is not ours. */
export function stateOfNeighbour(neighbour: KernelNeighbour, device: string): Neighbour | undefined {
  if (neighbour.state !== NUD_PERMANENT || neighbour.mac === undefined) return undefined;
  return { kind: "neighbour", device, address: neighbour.address, mac: neighbour.mac };
}

/** A permanent entry for one station; entries for groups and the default destination (zero MAC) are not ours. */
export function stateOfFdbEntry(entry: KernelFdbEntry, device: string): FdbEntry | undefined {
  const isPermanent = (entry.state & NUD_PERMANENT) !== 0 && (entry.flags & NTF_EXT_LEARNED) === 0;
  const isGroup = (Number.parseInt(entry.mac.slice(0, 2), 16) & 1) === 1 || entry.mac === "00:00:00:00:00:00";
  if (!isPermanent || isGroup || entry.destination === undefined) return undefined;
  const { mac, destination } = entry;
  const detour = (["port", "vni", "oif"] as const)
    .flatMap((name) => (entry[name] === undefined ? [] : [`${name} ${entry[name]}`]))
    .join(" ");
  return { kind: "fdb", device, mac, destination, ...(detour === "" ? {} : { detour }) };
}
