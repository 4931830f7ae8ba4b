/** Routes in the main table: to peers' subnets, through a tunnel or straight to their host; and the blackhole of the own subnet. */

import { parseIpBytes } from "../../address/ip.ts";
import { containsPrefix, parsePrefix } from "../../address/prefix.ts";
import { FlannelError, hasCode } from "../../base/error.ts";
import type { NetlinkRequest } from "../../netlink/message.ts";
import {
  decodeRoute,
  deleteRoute,
  getRoutes,
  type Route as KernelRoute,
  newRoute,
  type RouteSpec,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_UNICAST,
  RTPROT_BOOT,
  RTPROT_KERNEL,
  routeProtocolOf,
} from "../../netlink/route.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink.ts";
import type { NetlinkBatch, NetlinkView, NoticeContext, ObjectNotification } from "../netlink-handling.ts";
import type { ObjectKind } from "../object-kind.ts";
import type { Change, Operation, Ownership } from "../operation.ts";

/** rtm_protocol of our routes: "F", a number that neither linux/rtnetlink.h nor iproute2's rt_protos assigns. */
export const RTPROT_FLANNEL = 70;
/** Metric of an IPv6 route that was given none (net/ipv6: IP6_RT_PRIO_USER). */
const IP6_RT_PRIO_USER = 1024;
/** The last metric: any other route to the destination (above all that of a bridge) takes precedence. */
const BLACKHOLE_METRIC = 2 ** 32 - 1;
/**
 * From this many new routes on, they are given different scopes. The kernel compares each new IPv4 route that has a
 * gateway with all others on the device in one bucket of a hash table; the gateway is no part of the hash, the scope is
 * (net/ipv4/fib_semantics.c, fib_info_hashfn()): 5,000 routes of one scope take seven times as long.
 */
const MANY_ROUTES = 500;
/**
 * “Interior routes could be assigned a value between UNIVERSE and LINK” (linux/rtnetlink.h on rtm_scope); values from 200
 * on have names. For a route that has a gateway they all mean the same.
 */
const INTERIOR_SCOPES = 199;

/** A route in the main table. */
export interface Route {
  readonly kind: "route";
  /** What happens to the packets; absent = they are forwarded. A blackhole has no device: "". */
  readonly type?: "blackhole";
  /** "10.5.2.0/24". */
  readonly destination: string;
  readonly device: string;
  /** Gateway; undefined = directly on the device. */
  readonly via: string | undefined;
  /** The gateway is reachable on the link without an address there (RTNH_F_ONLINK). */
  readonly onlink: boolean;
  /** Who made it (rtm_protocol); ours is {@link RTPROT_FLANNEL}. */
  readonly protocol: number;
}

/** Key: type and destination, because the kernel holds one route for each destination, metric and TOS in a table. */
export const route: ObjectKind<Route> = {
  kind: "route",
  // A blackhole has another metric, so the kernel holds both.
  key: ({ type, destination }) => `${type ?? "route"} ${destination}`,
  device: ({ device }) => device,
  describe: ({ type, destination, via, device, onlink }) =>
    type !== undefined
      ? `${type} route ${destination}`
      : `route ${destination}${via === undefined ? "" : ` via ${via}`} dev ${device}${onlink ? " onlink" : ""}`,
  isUnmarked: ({ protocol, device }, isOwnDevice) => protocol !== RTPROT_FLANNEL && !isOwnDevice(device),
  isAdoptable: (observed, desired) => observed.via === desired.via && observed.device === desired.device,
  isReclaimed: true,
  advise({ action, object }, error, host) {
    if (action !== "create" || !hasCode(error, "EEXIST")) return undefined;
    const { destination } = object;
    const [rival] = host === undefined ? [] : occupantsOf(object, host.rtnetlink);
    const device = rival?.oif === undefined ? undefined : host?.rtnetlink.link(rival.oif);
    const through = device === undefined ? "" : `through device ${device.name}; `;
    const remedy =
      rival?.protocol === RTPROT_KERNEL && device?.kind === "bridge"
        ? `bridge ${device.name} has an address of that subnet: 'ip link delete ${device.name}' if no container uses it`
        : "remove it";
    return `a route to ${destination} that is not flannel's is there (${through}see 'ip route show ${destination}'): ${remedy}`;
  },
  netlink: { observe, change: { how: "batched", requests }, readNotice },
};

/**
 * A route that is ours: made by us, or leading through a device of ours into one of our networks; or one that may be
 * Go flannel's: through a gateway into one of our networks, and without a protocol number of its own.
 */
export function stateOfRoute(route: KernelRoute, device: string, ownership: Ownership): Route | undefined {
  if (route.table !== RT_TABLE_MAIN || route.tos !== 0 || route.nextHops.length > 0) return undefined;
  const { destination, protocol } = route;
  const isOurPlace = ownership.devices.has(device) || isInNetworks(destination, ownership);
  if (!isOurPlace) return undefined;
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
    if (!isInNetworks(destination, ownership)) return undefined;
  }
  return { kind: "route", destination, device, via: route.gateway, onlink: route.onlink, protocol };
}

function isInNetworks(destination: string, { networks }: Ownership): boolean {
  const prefix = parsePrefix(destination);
  return prefix !== undefined && networks.some((network) => containsPrefix(network, prefix));
}

/** Marked routes last: where one of ours leads to the same destination as an unmarked one, ours is what is observed. */
function observe({ rtnetlink, own, ownership, nameOf }: NetlinkView): Route[] {
  const found: Route[] = [];
  const add = (route: KernelRoute, device: string) => {
    const object = stateOfRoute(route, device, ownership);
    if (object !== undefined) found.push(object);
  };
  for (const route of rtnetlink.routes({ table: RT_TABLE_MAIN, protocol: RTPROT_BOOT }))
    add(route, nameOf(route.oif));
  for (const { index, name } of own) {
    for (const family of [4, 6] as const) {
      const messages = rtnetlink.connection.dump(getRoutes(family, { table: RT_TABLE_MAIN, oif: index }));
      for (const message of messages) {
        if (routeProtocolOf(message) === RTPROT_FLANNEL) continue; // found below, on any device
        const route = decodeRoute(message);
        if (route?.oif === index) add(route, name);
      }
    }
  }
  for (const route of rtnetlink.routes({ table: RT_TABLE_MAIN, protocol: RTPROT_FLANNEL }))
    add(route, nameOf(route.oif));
  return found;
}

/** A removal names every field, so that only exactly this route can go; a creation takes no other route's place. */
function requests(operation: Operation<Route>, batch: NetlinkBatch): readonly NetlinkRequest[] {
  const { indexOf, createdCount } = batch;
  const { object } = operation;
  const spec = specOf(object, indexOf);
  if (operation.action === "remove") return [deleteRoute(spec)];
  if (operation.action === "create" && operation.reclaims) return reclaim(operation.object, spec, batch);
  if (operation.action === "create")
    return [newRoute(createdCount >= MANY_ROUTES ? { ...spec, ...scopeOf(object) } : spec)];
  const { previous } = operation;
  // IPv4: NLM_F_REPLACE would replace the first route to the destination, which may be a foreign one.
  if (!object.destination.includes(":"))
    return [newRoute(spec, "append"), deleteRoute(specOf(previous, indexOf))];
  // IPv6: an appended route is one more next hop of the same, and an onlink gateway is refused while a route over
  // another device covers it (net/ipv6/route.c, ip6_route_check_nh_onlink()).
  if (previous.device === object.device) return [newRoute(spec, "replace")];
  return [deleteRoute(specOf(previous, indexOf)), newRoute(spec)];
}

/**
 * IPv4: one request replaces the foreign route without a gap. IPv6: a foreign route that covers our onlink gateway has to
 * go first (see above).
 */
function reclaim(route: Route, spec: RouteSpec, { rtnetlink }: NetlinkBatch): readonly NetlinkRequest[] {
  if (!route.destination.includes(":")) return [newRoute(spec, "replace")];
  const rivals = occupantsOf(route, rtnetlink).map(
    ({ destination, oif, gateway, priority, table, protocol, type }) =>
      deleteRoute({ destination, oif, gateway, priority, table, protocol, type }),
  );
  return [...rivals, newRoute(spec, "replace")];
}

/** The foreign routes that hold the place of a desired one: same table, destination and metric. */
function occupantsOf({ destination, type }: Route, rtnetlink: Rtnetlink): KernelRoute[] {
  const family = destination.includes(":") ? 6 : 4;
  const metric = type === "blackhole" ? BLACKHOLE_METRIC : family === 4 ? 0 : IP6_RT_PRIO_USER;
  try {
    return rtnetlink
      .routes({ family, table: RT_TABLE_MAIN })
      .filter(
        (route) =>
          route.destination === destination && route.priority === metric && route.protocol !== RTPROT_FLANNEL,
      );
  } catch (error) {
    if (!(error instanceof FlannelError)) throw error;
    return []; // the kernel's refusal of the route itself says enough
  }
}

function scopeOf({ destination, via }: Route): { readonly scope?: number } {
  const [address, length] = destination.split("/") as [string, string];
  const bytes = parseIpBytes(address);
  if (via === undefined || bytes?.length !== 4) return {};
  const number = bytes.reduce((value, byte) => value * 256 + byte, 0) / 2 ** (32 - Number(length));
  return { scope: 1 + (Math.floor(number) % INTERIOR_SCOPES) };
}

const specOf = (route: Route, indexOf: (device: string) => number): RouteSpec => ({
  destination: route.destination,
  protocol: route.protocol,
  ...(route.type === "blackhole"
    ? { type: RTN_BLACKHOLE, priority: BLACKHOLE_METRIC }
    : { oif: indexOf(route.device), gateway: route.via, onlink: route.onlink }),
});

function readNotice(
  notification: ObjectNotification,
  { ownership, ownDevices, nameOf }: NoticeContext,
): readonly Change<Route>[] {
  if (notification.type !== "route") return [];
  const route = notification.value;
  const ownDevice = ownDevices.get(route.oif ?? 0);
  const isPerhapsOurs = ownDevice !== undefined || route.protocol === RTPROT_FLANNEL;
  const object = isPerhapsOurs ? stateOfRoute(route, ownDevice ?? nameOf(route.oif), ownership) : undefined;
  if (object !== undefined) return [{ action: notification.change === "new" ? "set" : "gone", object }];
  // A foreign route may have taken the place of ours, or freed it: the kernel reports only the new one.
  const isNearby = route.table === RT_TABLE_MAIN && isInNetworks(route.destination, ownership);
  return isNearby ? [touchedRoute(route.destination)] : [];
}

const touchedRoute = (destination: string): Change<Route> => ({
  action: "touched",
  object: { kind: "route", destination, device: "", via: undefined, onlink: false, protocol: 0 },
});
