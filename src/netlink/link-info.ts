/** What is particular to one kind of link: the contents of IFLA_LINKINFO (linux/if_link.h, linux/veth.h). */

import { type AttributesOf, attributeTable, forEachAttribute, nested, writeAttribute } from "./attribute.ts";
import { bool, flag, ip, type Kind, string, u8, u16be, u32 } from "./kind.ts";

const VXLAN_ROWS = {
  IFLA_VXLAN_ID: [1, "vni", u32],
  IFLA_VXLAN_GROUP: [2, "group4", ip],
  IFLA_VXLAN_LINK: [3, "lowerIndex", u32],
  IFLA_VXLAN_LOCAL: [4, "local4", ip],
  IFLA_VXLAN_TTL: [5, "ttl", u8],
  IFLA_VXLAN_TOS: [6, "tos", u8],
  IFLA_VXLAN_LEARNING: [7, "learning", bool],
  IFLA_VXLAN_AGEING: [8, "ageingSeconds", u32],
  IFLA_VXLAN_PROXY: [11, "proxy", bool],
  IFLA_VXLAN_L2MISS: [13, "l2miss", bool],
  IFLA_VXLAN_L3MISS: [14, "l3miss", bool],
  IFLA_VXLAN_PORT: [15, "port", u16be],
  IFLA_VXLAN_GROUP6: [16, "group6", ip],
  IFLA_VXLAN_LOCAL6: [17, "local6", ip],
  IFLA_VXLAN_UDP_CSUM: [18, "udpChecksum", bool],
  IFLA_VXLAN_UDP_ZERO_CSUM6_TX: [19, "udpZeroChecksum6Tx", bool],
  IFLA_VXLAN_UDP_ZERO_CSUM6_RX: [20, "udpZeroChecksum6Rx", bool],
  IFLA_VXLAN_GBP: [23, "gbp", flag],
  IFLA_VXLAN_COLLECT_METADATA: [25, "collectMetadata", bool],
} as const;
const VXLAN = attributeTable(VXLAN_ROWS);

const TUN_ROWS = {
  IFLA_TUN_OWNER: [1, "owner", u32],
  IFLA_TUN_GROUP: [2, "group", u32],
  IFLA_TUN_TYPE: [3, "type", u8],
  IFLA_TUN_PI: [4, "packetInfo", bool],
  IFLA_TUN_VNET_HDR: [5, "vnetHeader", bool],
  IFLA_TUN_PERSIST: [6, "persist", bool],
  IFLA_TUN_MULTI_QUEUE: [7, "multiQueue", bool],
} as const;
const TUN = attributeTable(TUN_ROWS);

const IPIP_ROWS = {
  IFLA_IPTUN_LINK: [1, "lowerIndex", u32],
  IFLA_IPTUN_LOCAL: [2, "local", ip],
  IFLA_IPTUN_REMOTE: [3, "remote", ip],
  IFLA_IPTUN_TTL: [4, "ttl", u8],
  IFLA_IPTUN_TOS: [5, "tos", u8],
  IFLA_IPTUN_PROTO: [9, "protocol", u8],
  IFLA_IPTUN_PMTUDISC: [10, "pathMtuDiscovery", bool],
  IFLA_IPTUN_COLLECT_METADATA: [19, "collectMetadata", flag],
} as const;
const IPIP = attributeTable(IPIP_ROWS);

const BRIDGE_ROWS = {
  IFLA_BR_FORWARD_DELAY: [1, "forwardDelayCentiseconds", u32],
  IFLA_BR_STP_STATE: [5, "stpState", u32],
  IFLA_BR_VLAN_FILTERING: [7, "vlanFiltering", bool],
  IFLA_BR_MCAST_SNOOPING: [23, "multicastSnooping", bool],
} as const;
const BRIDGE = attributeTable(BRIDGE_ROWS);

type VxlanAttributes = AttributesOf<typeof VXLAN_ROWS>;

/** A VXLAN device's parameters. `local` is the source address of its packets, of either family. */
export interface Vxlan extends Omit<VxlanAttributes, "local4" | "local6" | "group4" | "group6"> {
  local?: string | undefined;
  /** Default destination, usually a multicast group. */
  group?: string | undefined;
}
/** A TUN or TAP device's parameters (read only: such devices are made through /dev/net/tun). `type` 1 = TUN, 2 = TAP. */
export type Tun = AttributesOf<typeof TUN_ROWS>;
/** An IPIP device's parameters (linux/if_tunnel.h). `remote` 0.0.0.0 = any. */
export type Ipip = AttributesOf<typeof IPIP_ROWS>;

/** The attributes of a bridge that flanneld reads (IFLA_BR_*). */
export type Bridge = AttributesOf<typeof BRIDGE_ROWS>;

/** IFLA_LINKINFO: the kind and the data of that kind. Data of other kinds is skipped. */
export interface LinkInfo<Peer = object> {
  kind?: string;
  /** Kind of the master that the link is a port of, e.g. "bridge". */
  slaveKind?: string;
  vxlan?: Vxlan | undefined;
  tun?: Tun;
  ipip?: Ipip | undefined;
  bridge?: Bridge | undefined;
  /** The other end of a veth, only when making one. */
  peer?: Peer | undefined;
}

const vxlan: Kind<Vxlan> = {
  isNested: true,
  decode(bytes, start, end) {
    const { local4, local6, group4, group6, ...rest } = VXLAN.decode(bytes, start, end);
    // A device has one source address and one group: the kernel reports each in the attribute of its family.
    return { ...rest, local: local4 ?? local6, group: group4 ?? group6 };
  },
  encode(writer, { local, group, ...rest }) {
    const attributes: VxlanAttributes = rest;
    if (local !== undefined) attributes[local.includes(":") ? "local6" : "local4"] = local;
    if (group !== undefined) attributes[group.includes(":") ? "group6" : "group4"] = group;
    VXLAN.encode(writer, attributes);
  },
};
const tun = nested(TUN);
const ipip = nested(IPIP);
const bridge = nested(BRIDGE);

// linux/if_link.h, enum IFLA_INFO_…; linux/veth.h
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const VETH_INFO_PEER = 1;

/** The kind of IFLA_LINKINFO, given how a veth's peer (a whole link message) is written. */
export const linkInfoKind = <Peer>(peer: Kind<Peer>): Kind<LinkInfo<Peer>> => ({
  isNested: true,
  decode(bytes, start, end) {
    const info: LinkInfo<Peer> = {};
    let dataStart = 0;
    let dataEnd = 0;
    forEachAttribute(bytes, start, end, (id, valueStart, valueEnd) => {
      if (id === IFLA_INFO_KIND) info.kind = string.decode(bytes, valueStart, valueEnd);
      if (id === IFLA_INFO_SLAVE_KIND) info.slaveKind = string.decode(bytes, valueStart, valueEnd);
      if (id === IFLA_INFO_DATA) [dataStart, dataEnd] = [valueStart, valueEnd];
    });
    if (info.kind === "vxlan") info.vxlan = vxlan.decode(bytes, dataStart, dataEnd);
    if (info.kind === "tun") info.tun = tun.decode(bytes, dataStart, dataEnd);
    if (info.kind === "ipip") info.ipip = ipip.decode(bytes, dataStart, dataEnd);
    if (info.kind === "bridge") info.bridge = bridge.decode(bytes, dataStart, dataEnd);
    return info;
  },
  encode(writer, info) {
    if (info.kind !== undefined) writeAttribute(writer, IFLA_INFO_KIND, string, info.kind);
    if (info.vxlan !== undefined) writeAttribute(writer, IFLA_INFO_DATA, vxlan, info.vxlan);
    if (info.ipip !== undefined) writeAttribute(writer, IFLA_INFO_DATA, ipip, info.ipip);
    if (info.bridge !== undefined) writeAttribute(writer, IFLA_INFO_DATA, bridge, info.bridge);
    if (info.peer !== undefined) {
      const data: Kind<Peer> = {
        isNested: true,
        decode: peer.decode,
        encode: (inner, value) => writeAttribute(inner, VETH_INFO_PEER, peer, value),
      };
      writeAttribute(writer, IFLA_INFO_DATA, data, info.peer);
    }
  },
});
