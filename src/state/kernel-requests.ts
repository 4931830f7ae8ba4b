/** Operations as rtnetlink requests. */

import { parseIpBytes } from "../address/ip.ts";
import { deleteAddress, newAddress } from "../netlink/address.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import { deleteFdbEntry, deleteNeighbour, newFdbEntry, newNeighbour } from "../netlink/neighbour.ts";
import { deleteRoute, newRoute, type RouteSpec, RTN_BLACKHOLE } from "../netlink/route.ts";
import type { Operation } from "./kernel.ts";
import { BLACKHOLE_METRIC } from "./kernel-objects.ts";
import { describeObject, type Route } from "./objects.ts";

/**
 * From so many new routes at once on, they are given different scopes. The kernel compares each new IPv4 route that has a
 * gateway with all others on the device in one place of a hash table, and the gateway is no part of the hash, but the
 * scope is (net/ipv4/fib_semantics.c, fib_info_hashfn): 5,000 routes of one scope take it seven times as long.
 */
const MANY_ROUTES = 500;
/**
 * “Interior routes could be assigned a value between UNIVERSE and LINK” (linux/rtnetlink.h on rtm_scope); from 200 on
 * they have names. For a route that has a gateway they all mean the same.
 */
const INTERIOR_SCOPES = 199;

/** linux/if_addr.h: no duplicate address detection, for which an address on a tunnel would have to wait. */
const IFA_F_NODAD = 0x02;

/** Whether among `operations` there are many new routes: {@link requestsOf} wants to know. */
export const hasManyRoutes = (operations: readonly Operation[]): boolean =>
  operations.length >= MANY_ROUTES &&
  operations.filter(({ action, object }) => action === "create" && object.kind === "route").length >=
    MANY_ROUTES;

/** The requests for anything but links and settings; `indexOf` throws if there is no such device. */
export function requestsOf(
  operation: Operation,
  indexOf: (device: string) => number,
  areManyRoutes: boolean,
): readonly NetlinkRequest[] {
  const { action, object } = operation;
  const isRemoval = action === "remove";
  switch (object.kind) {
    case "address": {
      const flags = object.address.includes(":") ? IFA_F_NODAD : undefined;
      const spec = { ifindex: indexOf(object.device), prefix: object.address, ...(flags && { flags }) };
      return [isRemoval ? deleteAddress(spec) : newAddress(spec)];
    }
    case "neighbour": {
      const spec = { ifindex: indexOf(object.device), address: object.address, mac: object.mac };
      return [isRemoval ? deleteNeighbour(spec) : newNeighbour(spec)];
    }
    case "fdb": {
      const { device, mac, destination, detour } = object;
      const spec = { ifindex: indexOf(device), mac, destination };
      // One with a detour is only found by all of it, or by its MAC alone.
      if (isRemoval)
        return [deleteFdbEntry(detour === undefined ? spec : { ...spec, destination: undefined })];
      return [newFdbEntry(spec)];
    }
    case "route": {
      const spec = routeSpecOf(object, indexOf);
      // A removal names every field, so that only exactly this route can go; a creation takes nobody's place.
      if (isRemoval) return [deleteRoute(spec)];
      if (operation.action !== "replace" || operation.previous.kind !== "route")
        return [newRoute(areManyRoutes ? { ...spec, ...scopeOf(object) } : spec)];
      return replaceRoute(operation.previous, object, indexOf);
    }
    case "link":
    case "setting":
    case "tunnel":
    case "forwarding":
      throw new Error(`no request of rtnetlink: ${describeObject(object)}`);
  }
}

function replaceRoute(
  previous: Route,
  next: Route,
  indexOf: (device: string) => number,
): readonly NetlinkRequest[] {
  const spec = routeSpecOf(next, indexOf);
  // IPv4: NLM_F_REPLACE would take the place of the first route to the destination, which may be another's.
  if (!next.destination.includes(":"))
    return [newRoute(spec, "append"), deleteRoute(routeSpecOf(previous, indexOf))];
  // IPv6: an appended route is one more way of the same, and an onlink gateway is refused while a route over another
  // device covers it (net/ipv6/route.c, ip6_route_check_nh_onlink).
  if (previous.device === next.device) return [newRoute(spec, "replace")];
  return [deleteRoute(routeSpecOf(previous, indexOf)), newRoute(spec)];
}

function scopeOf({ destination, via }: Route): { readonly scope?: number } {
  const [address, length] = destination.split("/") as [string, string];
  const bytes = parseIpBytes(address);
  if (via === undefined || bytes?.length !== 4) return {};
  const number = bytes.reduce((value, byte) => value * 256 + byte, 0) / 2 ** (32 - Number(length));
  return { scope: 1 + (Math.floor(number) % INTERIOR_SCOPES) };
}

const routeSpecOf = (route: Route, indexOf: (device: string) => number): RouteSpec => ({
  destination: route.destination,
  protocol: route.protocol,
  ...(route.type === "blackhole"
    ? { type: RTN_BLACKHOLE, priority: BLACKHOLE_METRIC }
    : { oif: indexOf(route.device), gateway: route.via, onlink: route.onlink }),
});
