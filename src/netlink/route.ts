/** Routes: `struct rtmsg` and RTA_… (linux/rtnetlink.h; rtnetlink(7)). */

import type { Family } from "../address/ip.ts";
import { attributeTable } from "./attribute.ts";
import { familyOfText, fromAf, splitPrefix, toAf } from "./family.ts";
import { ip, type Kind, u8, u16, u32 } from "./kind.ts";
import {
  type BodyOf,
  layoutOf,
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  requestOf,
} from "./message.ts";
import { struct } from "./struct.ts";
import { align4 } from "./writer.ts";

// linux/rtnetlink.h
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
// enum rt_class_t
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;
// rtm_protocol
const RTPROT_UNSPEC = 0;
export const RTPROT_KERNEL = 2;
export const RTPROT_BOOT = 3;
export const RTPROT_STATIC = 4;
// rtm_scope
const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RT_SCOPE_HOST = 254;
const RT_SCOPE_NOWHERE = 255;
// rtm_type
export const RTN_UNICAST = 1;
export const RTN_BLACKHOLE = 6;
export const RTN_UNREACHABLE = 7;
export const RTN_PROHIBIT = 8;
// rtm_flags
const RTNH_F_ONLINK = 4;

const RTMSG = struct("rtmsg", [
  ["af", u8],
  ["dstLength", u8],
  ["srcLength", u8],
  ["tos", u8],
  ["shortTable", u8],
  ["protocol", u8],
  ["scope", u8],
  ["type", u8],
  ["flags", u32],
]);

/** `struct rtvia`: a next hop of another family than the route's. */
const via: Kind<string> = {
  decode: (bytes, start, end) => ip.decode(bytes, Math.min(start + 2, end), end),
  encode(writer, value) {
    writer.u16(toAf(familyOfText(value)));
    ip.encode(writer, value);
  },
};

/** One way of a route with several (`struct rtnexthop` and attributes). */
interface NextHop {
  readonly oif: number;
  readonly gateway: string | undefined;
  /** 1…256. */
  readonly weight: number;
  readonly onlink: boolean;
}

const RTNEXTHOP = struct("rtnexthop", [
  ["length", u16],
  ["flags", u8],
  ["hops", u8],
  ["ifindex", u32],
]);
const NEXT_HOP_ATTRIBUTES = attributeTable({ RTA_GATEWAY: [5, "gateway", ip], RTA_VIA: [18, "via", via] });

const nextHops: Kind<readonly NextHop[]> = {
  decode(bytes, start, end) {
    const hops: NextHop[] = [];
    for (let at = start; at < end; ) {
      const length = Math.min(end - at, Math.max(RTNEXTHOP.sizeBytes, u16.decode(bytes, at, end)));
      const hop = { flags: 0, hops: 0, ifindex: 0, gateway: undefined, via: undefined };
      RTNEXTHOP.decodeInto(hop, bytes, at, end);
      NEXT_HOP_ATTRIBUTES.decodeInto(hop, bytes, at + RTNEXTHOP.sizeBytes, at + length);
      hops.push({
        oif: hop.ifindex,
        gateway: hop.gateway ?? hop.via,
        weight: hop.hops + 1,
        onlink: (hop.flags & RTNH_F_ONLINK) !== 0,
      });
      at += align4(length);
    }
    return hops;
  },
  encode(writer, hops) {
    for (const hop of hops) {
      const at = writer.length;
      const flags = hop.onlink ? RTNH_F_ONLINK : 0;
      RTNEXTHOP.encode(writer, { flags, hops: hop.weight - 1, ifindex: hop.oif });
      NEXT_HOP_ATTRIBUTES.encode(writer, { gateway: hop.gateway });
      writer.patchU16(at, writer.length - at);
    }
  },
};

const ROUTE_ATTRIBUTES = attributeTable({
  RTA_DST: [1, "dst", ip],
  RTA_SRC: [2, "src", ip],
  RTA_IIF: [3, "iif", u32],
  RTA_OIF: [4, "oif", u32],
  RTA_GATEWAY: [5, "gateway", ip],
  RTA_PRIORITY: [6, "priority", u32],
  RTA_PREFSRC: [7, "prefsrc", ip],
  RTA_MULTIPATH: [9, "nextHops", nextHops],
  RTA_TABLE: [15, "table", u32],
  RTA_VIA: [18, "via", via],
  RTA_NH_ID: [30, "nextHopId", u32],
});

const ROUTE = layoutOf(RTMSG, ROUTE_ATTRIBUTES);

/** A route as the kernel reports it. */
export interface Route {
  readonly family: Family;
  /** "10.5.2.0/24"; the default route is "0.0.0.0/0" or "::/0". */
  readonly destination: string;
  readonly oif: number | undefined;
  readonly gateway: string | undefined;
  /** RTNH_F_ONLINK: the gateway is taken to be on the link. */
  readonly onlink: boolean;
  readonly prefsrc: string | undefined;
  /** The metric; 0 if none. (IPv6 routes have 1024 if none was given.) */
  readonly priority: number;
  readonly table: number;
  /** RTPROT_…: who made it. */
  readonly protocol: number;
  /** RT_SCOPE_… */
  readonly scope: number;
  /** RTN_… */
  readonly type: number;
  /** RTM_F_…, RTNH_F_… */
  readonly flags: number;
  /** Type of service, a further part of an IPv4 route's key. */
  readonly tos: number;
  /** The ways, if there are several; `oif` and `gateway` are then undefined. */
  readonly nextHops: readonly NextHop[];
}

/** Decodes RTM_NEWROUTE or RTM_DELROUTE; undefined if it is of neither family. Throws NetlinkDecodeError. */
export function decodeRoute(message: NetlinkMessage): Route | undefined {
  const body = ROUTE.decode(message.bytes, message.start, message.end);
  const family = fromAf(body.af);
  if (family === undefined) return undefined;
  return {
    family,
    destination: `${body.dst ?? (family === 4 ? "0.0.0.0" : "::")}/${body.dstLength}`,
    oif: body.oif,
    gateway: body.gateway ?? body.via,
    onlink: (body.flags & RTNH_F_ONLINK) !== 0,
    prefsrc: body.prefsrc,
    priority: body.priority ?? 0,
    table: body.table ?? body.shortTable,
    protocol: body.protocol,
    scope: body.scope,
    type: body.type,
    flags: body.flags,
    tos: body.tos,
    nextHops: body.nextHops ?? [],
  };
}

/**
 * The fields that decide whether a route is worth decoding, read at their fixed offsets: of a foreign full
 * routing table only these are read.
 */
export const routeProtocolOf = (message: NetlinkMessage): number => message.bytes[message.start + 5] ?? 0;

/** The prefix length of a route's destination, read as {@link routeProtocolOf} is. */
export const routeLengthOf = (message: NetlinkMessage): number => message.bytes[message.start + 1] ?? 0;

/** A route to be made or removed. */
export interface RouteSpec {
  /** "10.5.2.0/24". */
  readonly destination: string;
  readonly oif?: number | undefined;
  readonly gateway?: string | undefined;
  readonly onlink?: boolean;
  readonly prefsrc?: string | undefined;
  readonly priority?: number | undefined;
  /** Default RT_TABLE_MAIN. */
  readonly table?: number;
  /** RTPROT_…: the maker's mark. On removal only a route with this mark goes; RTPROT_UNSPEC (default there) = any. */
  readonly protocol?: number;
  /** RT_SCOPE_…; default: link for IPv4 routes without gateway, else universe. On removal: any. */
  readonly scope?: number;
  /** RTN_…; default RTN_UNICAST. */
  readonly type?: number;
  readonly nextHops?: readonly NextHop[];
}

function bodyOf(spec: RouteSpec, protocol: number, scope: number): Partial<BodyOf<typeof ROUTE>> {
  const { address, length } = splitPrefix(spec.destination);
  const table = spec.table ?? RT_TABLE_MAIN;
  return {
    af: toAf(familyOfText(address)),
    dstLength: length,
    protocol: spec.protocol ?? protocol,
    scope: spec.scope ?? scope,
    type: spec.type ?? RTN_UNICAST,
    flags: spec.onlink ? RTNH_F_ONLINK : 0,
    dst: address,
    oif: spec.oif,
    gateway: spec.gateway,
    priority: spec.priority,
    prefsrc: spec.prefsrc,
    nextHops: spec.nextHops,
    shortTable: table < 256 ? table : 0,
    table: table < 256 ? undefined : table,
  };
}

const MODE_FLAGS = {
  create: NLM_F_CREATE | NLM_F_EXCL,
  replace: NLM_F_CREATE | NLM_F_REPLACE,
  append: NLM_F_CREATE | NLM_F_APPEND,
} as const;

/**
 * Makes a route. `create`: EEXIST if there is one of the same destination, table, metric and tos. `replace`: takes the
 * place of such a route, even a foreign one. Protocol defaults to RTPROT_BOOT, as with `ip route`.
 */
export function newRoute(spec: RouteSpec, mode: keyof typeof MODE_FLAGS = "create"): NetlinkRequest {
  const isDirect =
    spec.gateway === undefined && spec.nextHops === undefined && (spec.type ?? RTN_UNICAST) === RTN_UNICAST;
  const scope = isDirect && familyOfText(spec.destination) === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  const body = bodyOf(spec, RTPROT_BOOT, scope);
  return requestOf("RTM_NEWROUTE", RTM_NEWROUTE, MODE_FLAGS[mode], ROUTE, body);
}

/** Removes the first route that fits everything given; ESRCH if none does. */
export const deleteRoute = (spec: RouteSpec): NetlinkRequest =>
  requestOf("RTM_DELROUTE", RTM_DELROUTE, 0, ROUTE, bodyOf(spec, RTPROT_UNSPEC, RT_SCOPE_NOWHERE));

/** Which routes a dump shall give. */
export interface RouteFilter {
  readonly table?: number;
  readonly protocol?: number;
  readonly oif?: number;
}

/** Asks for the routes of one family, in a dump. The filter works in kernels from 4.20 on; older ones ignore it. */
export const getRoutes = (family: Family, filter: RouteFilter = {}): NetlinkRequest =>
  requestOf("RTM_GETROUTE", RTM_GETROUTE, 0, ROUTE, {
    af: toAf(family),
    protocol: filter.protocol ?? 0,
    table: filter.table,
    oif: filter.oif,
  });

/** A packet that comes from another host or a container: its source, and the device that it arrives on. */
export interface Arrival {
  readonly source: string;
  readonly iif: number;
}

/**
 * Asks which route packets to `address` take, through the device with index `oif` if that is given, or as forwarded packets.
 * ENETUNREACH, EHOSTUNREACH, EACCES… if none; EINVAL, EXDEV if a forwarded packet would be dropped for its source.
 */
export function lookupRoute(address: string, oif?: number, arrival?: Arrival): NetlinkRequest {
  const family = familyOfText(address);
  const bits = family === 4 ? 32 : 128;
  const from = arrival === undefined ? {} : { srcLength: bits, src: arrival.source, iif: arrival.iif };
  const body = { af: toAf(family), dstLength: bits, dst: address, oif, ...from };
  return requestOf("RTM_GETROUTE", RTM_GETROUTE, 0, ROUTE, body);
}
