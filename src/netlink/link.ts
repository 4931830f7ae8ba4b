/** Links (network devices): `struct ifinfomsg` and IFLA_… (linux/if_link.h, linux/rtnetlink.h; rtnetlink(7)). */

import { attributeTable, nested } from "./attribute.ts";
import { AF_UNSPEC } from "./family.ts";
import { i32, type Kind, mac, string, u8, u16, u32 } from "./kind.ts";
import { type Bridge, type Ipip, type LinkInfo, linkInfoKind, type Tun, type Vxlan } from "./link-info.ts";
import {
  type BodyOf,
  layoutOf,
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_CREATE,
  NLM_F_EXCL,
  requestOf,
} from "./message.ts";
import { struct } from "./struct.ts";

// linux/rtnetlink.h
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;

// linux/if.h, enum net_device_flags
const IFF_UP = 0x1;

// linux/if_link.h, enum in6_addr_gen_mode
const IN6_ADDR_GEN_MODE_NONE = 1;

/** RFC 2863 states by number (linux/if.h, IF_OPER_…). */
const OPER_STATES = ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"] as const;
type OperState = (typeof OPER_STATES)[number];

const IFINFOMSG = struct("ifinfomsg", [
  ["family", u8],
  ["_pad", u8],
  ["hardwareType", u16],
  ["index", i32],
  ["flags", u32],
  ["change", u32],
]);

const AF_SPEC = attributeTable({
  AF_INET6: [10, "inet6", nested(attributeTable({ IFLA_INET6_ADDR_GEN_MODE: [8, "addressGeneration", u8] }))],
});

/** The other end of a veth. Recursion: its layout is LINK itself. */
const peer: Kind<object> = {
  decode: (bytes, start, end) => LINK.decode(bytes, start, end),
  encode: (writer, value) => LINK.encode(writer, value),
};

const LINK_ATTRIBUTES = attributeTable({
  IFLA_ADDRESS: [1, "mac", mac],
  IFLA_IFNAME: [3, "name", string],
  IFLA_MTU: [4, "mtuBytes", u32],
  IFLA_LINK: [5, "linkIndex", u32],
  IFLA_MASTER: [10, "masterIndex", u32],
  IFLA_OPERSTATE: [16, "operState", u8],
  IFLA_LINKINFO: [18, "info", linkInfoKind(peer)],
  IFLA_IFALIAS: [20, "alias", string],
  IFLA_AF_SPEC: [26, "familySpecific", nested(AF_SPEC)],
  IFLA_NET_NS_FD: [28, "netNsFd", u32],
  IFLA_EXT_MASK: [29, "extendedMask", u32],
  IFLA_CARRIER: [33, "carrier", u8],
  IFLA_LINK_NETNSID: [37, "linkNetNsId", i32],
});

const LINK = layoutOf(IFINFOMSG, LINK_ATTRIBUTES);
type LinkBody = BodyOf<typeof LINK>;

/** A device as the kernel reports it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** "vxlan", "veth", "bridge", "tun"…; undefined for hardware and lo. */
  readonly kind: string | undefined;
  /** ARPHRD_… (linux/if_arp.h): 1 Ethernet, 772 loopback, 65534 none (TUN). */
  readonly hardwareType: number;
  /** IFF_… */
  readonly flags: number;
  /** Administratively up (IFF_UP). */
  readonly isUp: boolean;
  readonly operState: OperState;
  readonly hasCarrier: boolean;
  readonly mtuBytes: number;
  /** "aa:bb:cc:dd:ee:ff"; undefined if the device has none. */
  readonly mac: string | undefined;
  /** The bridge (or other master) that the device is a port of. */
  readonly masterIndex: number | undefined;
  /** Lower device of a tunnel or VLAN, other end of a veth; in the namespace `linkNetNsId` if that is given. */
  readonly linkIndex: number | undefined;
  readonly linkNetNsId: number | undefined;
  readonly alias: string | undefined;
  /** Whether the kernel gives the device no IPv6 link-local address by itself. */
  readonly hasNoLinkLocal: boolean;
  readonly vxlan: Vxlan | undefined;
  readonly tun: Tun | undefined;
  readonly ipip: Ipip | undefined;
}

/** Whether an RTM_…LINK message is about a device. The rest are about bridge ports and protocols: their DELLINK removes no device. */
export const isDeviceMessage = (message: NetlinkMessage): boolean =>
  message.bytes[message.start] === AF_UNSPEC;

/** Decodes RTM_NEWLINK or RTM_DELLINK. Throws NetlinkDecodeError. */
export function decodeLink(message: NetlinkMessage): Link {
  const body = LINK.decode(message.bytes, message.start, message.end);
  return {
    index: body.index,
    name: body.name ?? "",
    kind: body.info?.kind,
    hardwareType: body.hardwareType,
    flags: body.flags,
    isUp: (body.flags & IFF_UP) !== 0,
    operState: OPER_STATES[body.operState ?? 0] ?? "unknown",
    hasCarrier: body.carrier === 1,
    mtuBytes: body.mtuBytes ?? 0,
    mac: body.mac === "" ? undefined : body.mac,
    masterIndex: body.masterIndex,
    linkIndex: body.linkIndex === 0 ? undefined : body.linkIndex,
    linkNetNsId: body.linkNetNsId,
    alias: body.alias,
    hasNoLinkLocal: body.familySpecific?.inet6?.addressGeneration === IN6_ADDR_GEN_MODE_NONE,
    vxlan: body.info?.vxlan,
    tun: body.info?.tun,
    ipip: body.info?.ipip,
  };
}

/** What can be set on a device of any kind. */
export interface LinkSettings {
  readonly mtuBytes?: number | undefined;
  readonly mac?: string | undefined;
  readonly up?: boolean | undefined;
  /** Port of this bridge; 0 = of none. */
  readonly masterIndex?: number | undefined;
  /** Open file descriptor of the network namespace to move the device to. */
  readonly netNsFd?: number | undefined;
  readonly alias?: string | undefined;
}

/** A device to be made. */
export interface LinkSpec extends LinkSettings {
  readonly name: string;
  readonly kind: "bridge" | "veth" | "vxlan" | "ipip" | "wireguard";
  readonly vxlan?: Vxlan;
  readonly ipip?: Ipip;
  readonly bridge?: Bridge;
  /** Other end of a veth. */
  readonly peer?: LinkSettings & { readonly name: string };
}

/** By index, or by name. */
export type LinkRef = number | string;

const refBody = (ref: LinkRef): Partial<LinkBody> =>
  typeof ref === "number" ? { index: ref } : { name: ref };

function settingsBody({ up, ...rest }: LinkSettings): Partial<LinkBody> {
  return up === undefined ? rest : { ...rest, flags: up ? IFF_UP : 0, change: IFF_UP };
}

/** Makes a device; EEXIST if there is one of that name. */
export function newLink({ kind, vxlan, ipip, bridge, peer: other, ...settings }: LinkSpec): NetlinkRequest {
  const info: LinkInfo = {
    kind,
    vxlan,
    ipip,
    bridge,
    peer: other === undefined ? undefined : settingsBody(other),
  };
  const body: Partial<LinkBody> = { ...settingsBody(settings), info };
  return requestOf("RTM_NEWLINK", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, LINK, body);
}

/** Changes a device; `name` in the settings renames it (the device is then given by index, and must be down on old kernels). */
export function setLink(ref: LinkRef, settings: LinkSettings & { readonly name?: string }): NetlinkRequest {
  const body: Partial<LinkBody> = { ...settingsBody(settings), ...refBody(ref) };
  return requestOf("RTM_NEWLINK", RTM_NEWLINK, 0, LINK, body);
}

/** No automatic IPv6 link-local address: to be sent before the device goes up. EAFNOSUPPORT or EINVAL without IPv6. */
export function setNoLinkLocal(ref: LinkRef): NetlinkRequest {
  const familySpecific = { inet6: { addressGeneration: IN6_ADDR_GEN_MODE_NONE } };
  const body: Partial<LinkBody> = { ...refBody(ref), familySpecific };
  return requestOf("RTM_NEWLINK", RTM_NEWLINK, 0, LINK, body);
}

/** Removes a device; ENODEV if there is none. */
export const deleteLink = (ref: LinkRef): NetlinkRequest =>
  requestOf("RTM_DELLINK", RTM_DELLINK, 0, LINK, refBody(ref));

// linux/rtnetlink.h: leave the counters out of the answer
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/** Asks for one device, or in a dump (`ref` undefined) for all. */
export function getLink(ref?: LinkRef): NetlinkRequest {
  const body: Partial<LinkBody> = {
    ...(ref === undefined ? {} : refBody(ref)),
    extendedMask: RTEXT_FILTER_SKIP_STATS,
  };
  return requestOf("RTM_GETLINK", RTM_GETLINK, 0, LINK, body);
}
