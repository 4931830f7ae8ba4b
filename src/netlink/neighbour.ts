/**
 * Neighbours (IP → MAC) and forwarding entries (FDB: MAC → where), which are neighbours of family AF_BRIDGE:
 * `struct ndmsg` and NDA_… (linux/neighbour.h; rtnetlink(7)).
 */

import type { Family } from "../address/ip.ts";
import { attributeTable } from "./attribute.ts";
import { AF_BRIDGE, familyOfText, fromAf, toAf } from "./family.ts";
import { i32, ip, mac, u8, u16, u16be, u32 } from "./kind.ts";
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

// linux/rtnetlink.h
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
// ndm_state
export const NUD_REACHABLE = 0x02;
export const NUD_PERMANENT = 0x80;
// ndm_flags
const NTF_SELF = 0x02;
export const NTF_EXT_LEARNED = 0x10;

const NDMSG = struct("ndmsg", [
  ["af", u8],
  ["_pad1", u8],
  ["_pad2", u16],
  ["ifindex", i32],
  ["state", u16],
  ["flags", u8],
  ["type", u8],
]);

const NEIGHBOUR_ATTRIBUTES = attributeTable({
  NDA_DST: [1, "dst", ip],
  NDA_LLADDR: [2, "mac", mac],
  NDA_VLAN: [5, "vlan", u16],
  NDA_PORT: [6, "port", u16be],
  NDA_VNI: [7, "vni", u32],
  NDA_IFINDEX: [8, "otherIndex", u32],
  NDA_MASTER: [9, "masterIndex", u32],
  NDA_PROTOCOL: [12, "protocol", u8],
});

const NEIGHBOUR = layoutOf(NDMSG, NEIGHBOUR_ATTRIBUTES);

/** A neighbour as the kernel reports it. */
export interface Neighbour {
  readonly family: Family;
  readonly ifindex: number;
  readonly address: string;
  /** Undefined while it is being resolved. */
  readonly mac: string | undefined;
  /** NUD_… */
  readonly state: number;
  /** NTF_… */
  readonly flags: number;
  /** RTPROT_…: who made it; 0 = not said. */
  readonly protocol: number;
}

/** A forwarding entry as the kernel reports it. */
export interface FdbEntry {
  readonly ifindex: number;
  readonly mac: string;
  /** Address of the tunnel's other end, on a VXLAN device. */
  readonly destination: string | undefined;
  /** The bridge whose table it is in, if it is a bridge's. */
  readonly masterIndex: number | undefined;
  readonly state: number;
  readonly flags: number;
  /** UDP port, VNI and outgoing device where they differ from the VXLAN device's own. */
  readonly port: number | undefined;
  readonly vni: number | undefined;
  readonly oif: number | undefined;
}

/** Whether an RTM_…NEIGH message is about a forwarding entry. */
export const isFdbMessage = (message: NetlinkMessage): boolean => message.bytes[message.start] === AF_BRIDGE;

/** Decodes RTM_NEWNEIGH or RTM_DELNEIGH; undefined if it is of neither family or has no address. */
export function decodeNeighbour(message: NetlinkMessage): Neighbour | undefined {
  const body = NEIGHBOUR.decode(message.bytes, message.start, message.end);
  const family = fromAf(body.af);
  if (family === undefined || body.dst === undefined) return undefined;
  return {
    family,
    ifindex: body.ifindex,
    address: body.dst,
    mac: body.mac,
    state: body.state,
    flags: body.flags,
    protocol: body.protocol ?? 0,
  };
}

/** Decodes a forwarding entry; undefined if it has no MAC (entries of nexthop groups, multicast). */
export function decodeFdbEntry(message: NetlinkMessage): FdbEntry | undefined {
  const body = NEIGHBOUR.decode(message.bytes, message.start, message.end);
  if (body.mac === undefined) return undefined;
  return {
    ifindex: body.ifindex,
    mac: body.mac,
    destination: body.dst,
    masterIndex: body.masterIndex,
    state: body.state,
    flags: body.flags,
    port: body.port,
    vni: body.vni,
    oif: body.otherIndex,
  };
}

/** A permanent neighbour to be made; for removal the MAC may be left out. */
export interface NeighbourSpec {
  readonly ifindex: number;
  readonly address: string;
  readonly mac?: string | undefined;
  /** RTPROT_…: the maker's mark (kernels from 5.2 on keep it). */
  readonly protocol?: number;
}

/** A permanent entry of a VXLAN device's table; for removal the destination may be left out, which matches any. */
export interface FdbSpec {
  readonly ifindex: number;
  readonly mac: string;
  readonly destination?: string | undefined;
}

const MODE_FLAGS = {
  create: NLM_F_CREATE | NLM_F_EXCL,
  replace: NLM_F_CREATE | NLM_F_REPLACE,
  append: NLM_F_CREATE | NLM_F_APPEND,
} as const;

const neighbourBody = (spec: NeighbourSpec): Partial<BodyOf<typeof NEIGHBOUR>> => ({
  af: toAf(familyOfText(spec.address)),
  ifindex: spec.ifindex,
  state: NUD_PERMANENT,
  dst: spec.address,
  mac: spec.mac,
  protocol: spec.protocol,
});

const fdbBody = (spec: FdbSpec): Partial<BodyOf<typeof NEIGHBOUR>> => ({
  af: AF_BRIDGE,
  ifindex: spec.ifindex,
  state: NUD_PERMANENT,
  flags: NTF_SELF,
  dst: spec.destination,
  mac: spec.mac,
});

/** Makes a permanent neighbour. `create`: EEXIST if there is one; `replace`: takes its place. */
export const newNeighbour = (spec: NeighbourSpec, mode: "create" | "replace" = "replace"): NetlinkRequest =>
  requestOf("RTM_NEWNEIGH", RTM_NEWNEIGH, MODE_FLAGS[mode], NEIGHBOUR, neighbourBody(spec));

/** Removes a neighbour; ENOENT if there is none. */
export const deleteNeighbour = (spec: NeighbourSpec): NetlinkRequest =>
  requestOf("RTM_DELNEIGH", RTM_DELNEIGH, 0, NEIGHBOUR, neighbourBody(spec));

/** Makes a forwarding entry. `replace`: the MAC then has this one destination; `append`: one more of the zero MAC. */
export const newFdbEntry = (spec: FdbSpec, mode: keyof typeof MODE_FLAGS = "replace"): NetlinkRequest =>
  requestOf("RTM_NEWNEIGH", RTM_NEWNEIGH, MODE_FLAGS[mode], NEIGHBOUR, fdbBody(spec));

/** Removes a forwarding entry; ENOENT if there is none. */
export const deleteFdbEntry = (spec: FdbSpec): NetlinkRequest =>
  requestOf("RTM_DELNEIGH", RTM_DELNEIGH, 0, NEIGHBOUR, fdbBody(spec));

/** Asks for neighbours, in a dump. The device filter works in kernels from 4.20 on; older ones ignore it. */
export const getNeighbours = (family: Family, ifindex?: number): NetlinkRequest =>
  requestOf("RTM_GETNEIGH", RTM_GETNEIGH, 0, NEIGHBOUR, { af: toAf(family), otherIndex: ifindex });

/** Asks for the forwarding entries of one device, in a dump. */
export const getFdb = (ifindex: number): NetlinkRequest =>
  requestOf("RTM_GETNEIGH", RTM_GETNEIGH, 0, NEIGHBOUR, { af: AF_BRIDGE, otherIndex: ifindex });
