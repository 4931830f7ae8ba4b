/**
 * What a host should hold, as plain values: the vocabulary between backends (which plan), the reconciler (which
 * compares) and the kernel (which is observed and changed). Everything is text and numbers, so that a state can be
 * printed, stored and replayed; addresses are in canonical text form, devices go by name.
 */

/** A VXLAN device (kernel: drivers/net/vxlan). A difference in a field marked (fixed) means making the device again. */
export interface VxlanLink {
  readonly kind: "link";
  readonly name: string;
  readonly type: "vxlan";
  /** VXLAN network identifier, 1…2^24-1 (fixed). */
  readonly vni: number;
  /** Name of the lower device (fixed). */
  readonly lower: string;
  /** Source address of the tunnel packets (fixed). */
  readonly local: string;
  /** UDP destination port (fixed). */
  readonly port: number;
  /** Whether the device learns FDB entries from traffic (fixed). */
  readonly learning: boolean;
  /** Group policy extension (fixed). */
  readonly gbp: boolean;
  readonly mtuBytes: number;
  /** "c6:d2:32:6f:8f:44". */
  readonly mac: string;
  /** Administratively up (IFF_UP). */
  readonly up: boolean;
}

/** A TUN device (kernel: drivers/net/tun.c) that stays while nobody has it open. Its packets go through a {@link Tunnel}. */
export interface TunLink {
  readonly kind: "link";
  readonly name: string;
  readonly type: "tun";
  readonly mtuBytes: number;
  /** Administratively up (IFF_UP). */
  readonly up: boolean;
}

/** A device that bears one of our names and is not what we make: seen, reported, never touched. */
export interface ForeignLink {
  readonly kind: "link";
  readonly name: string;
  readonly type: "foreign";
  /** The kernel's name for what it is, e.g. "bridge". */
  readonly linkKind: string;
}

/** An address on a device of ours. */
export interface DeviceAddress {
  readonly kind: "address";
  readonly device: string;
  /** "10.5.1.0/32". */
  readonly address: string;
}

/** What can be set on a device, but not through rtnetlink. */
export const SETTING_NAMES = [
  /** Router advertisements change the host's routes and addresses (sysctl net.ipv6.conf.DEVICE.accept_ra). */
  "accept_ra",
  /** There is no IPv6 on the device (sysctl net.ipv6.conf.DEVICE.disable_ipv6). */
  "disable_ipv6",
  /** Checksums of sent packets are left to the device (ethtool(8), tx-checksum-ip-generic). */
  "tx-checksum-ip-generic",
] as const;
export type SettingName = (typeof SETTING_NAMES)[number];

/** A setting of a device of ours. One that is not wanted any more is left as it is: nobody knows what it was before. */
export interface DeviceSetting {
  readonly kind: "setting";
  readonly device: string;
  readonly name: SettingName;
  readonly on: boolean;
}

/** A route in the main table. */
export interface Route {
  readonly kind: "route";
  /** What becomes of the packets; absent = they are sent on. A blackhole has no device: "". */
  readonly type?: "blackhole";
  /** "10.5.2.0/24". */
  readonly destination: string;
  readonly device: string;
  /** Next hop; undefined = directly on the device. */
  readonly via: string | undefined;
  /** Take the next hop as reachable on the link (RTNH_F_ONLINK). */
  readonly onlink: boolean;
  /** Who made it (rtm_protocol); ours is {@link RTPROT_FLANNEL}. */
  readonly protocol: number;
}

/** A permanent neighbour entry: address → MAC. */
export interface Neighbour {
  readonly kind: "neighbour";
  readonly device: string;
  readonly address: string;
  readonly mac: string;
}

/** A permanent forwarding entry of a VXLAN device: MAC → address of the tunnel's other end. */
export interface FdbEntry {
  readonly kind: "fdb";
  readonly device: string;
  readonly mac: string;
  readonly destination: string;
  /** Another UDP port, VNI or lower device than the device's own, e.g. "port 4789": seen where somebody set it, never wanted. */
  readonly detour?: string;
}

/** A tunnel in this process (src/datapath): packets of a TUN device go to peers in UDP, and theirs come back. */
export interface Tunnel {
  readonly kind: "tunnel";
  /** The TUN device. */
  readonly device: string;
  /** Address and UDP port that it sends from and receives at. */
  readonly local: string;
  readonly port: number;
  /**
   * This host's subnet, "10.5.1.0/24": what peers may send to. Its base is the address of the tunnel's own messages.
   * Undefined = subnet or peers are not known yet: packets wait in device and socket.
   */
  readonly subnet: string | undefined;
  /** Whether packets must come from the peer that has their source. */
  readonly strictSource: boolean;
}

/** Where a {@link Tunnel} sends packets for a subnet. */
export interface Forwarding {
  readonly kind: "forwarding";
  readonly device: string;
  /** "10.5.2.0/24". */
  readonly destination: string;
  /** Address of the peer. */
  readonly peer: string;
}

export type StateObject =
  | VxlanLink
  | TunLink
  | ForeignLink
  | DeviceSetting
  | DeviceAddress
  | Route
  | Neighbour
  | FdbEntry
  | Tunnel
  | Forwarding;
export type StateKind = StateObject["kind"];

/** In the order in which things are made; they are removed in the reverse order. */
export const STATE_KINDS = [
  "link",
  "setting",
  "address",
  "fdb",
  "neighbour",
  "tunnel",
  "forwarding",
  "route",
] as const satisfies StateKind[];

/** What is held by flanneld's process, not by the kernel: another process cannot see it. */
export const PROCESS_KINDS: ReadonlySet<StateKind> = new Set<StateKind>(["tunnel", "forwarding"]);

/** rtm_protocol of our routes: "F", a number nobody has in linux/rtnetlink.h or iproute2's rt_protos. */
export const RTPROT_FLANNEL = 70;

/** Objects by {@link keyOf}: what this host should hold, or was seen to hold. */
export type State = ReadonlyMap<string, StateObject>;

/** What makes two objects the same thing, perhaps with other contents: what the kernel, too, holds only once. */
export function keyOf(object: StateObject): string {
  switch (object.kind) {
    case "link":
      return linkKey(object.name);
    case "address":
      return `address ${object.device} ${object.address}`;
    case "setting":
      return `setting ${object.device} ${object.name}`;
    case "route":
      // The two have different metrics, so the kernel holds both.
      return `${object.type ?? "route"} ${object.destination}`;
    case "neighbour":
      return `neighbour ${object.device} ${object.address}`;
    case "fdb":
      return `fdb ${object.device} ${object.mac}`;
    case "tunnel":
      return `tunnel ${object.device}`;
    case "forwarding":
      return `forwarding ${object.device} ${object.destination}`;
  }
}

/** The key of the device of that name. */
export const linkKey = (name: string): string => `link ${name}`;

/** The device that an object stands on or falls with. */
export const deviceOf = (object: StateObject): string =>
  object.kind === "link" ? object.name : object.device;

/** Whether two objects are equal in every field. */
export function sameObject(a: StateObject, b: StateObject): boolean {
  if (a === b) return true;
  const left = a as unknown as Record<string, unknown>;
  const right = b as unknown as Record<string, unknown>;
  for (const field in left) if (left[field] !== right[field]) return false;
  for (const field in right) if (!(field in left)) return false;
  return true;
}

/** One line for logs and `plan` output, in the words of ip(8) and bridge(8). */
export function describeObject(object: StateObject): string {
  switch (object.kind) {
    case "link":
      if (object.type === "tun") return `device ${object.name} tun mtu ${object.mtuBytes}`;
      return object.type === "foreign"
        ? `device ${object.name} (${object.linkKind})`
        : `device ${object.name} vxlan id ${object.vni} dev ${object.lower} local ${object.local} port ${object.port} mtu ${object.mtuBytes} address ${object.mac}`;
    case "address":
      return `address ${object.address} dev ${object.device}`;
    case "setting":
      return object.name === "tx-checksum-ip-generic"
        ? `${object.name} ${object.on ? "on" : "off"} dev ${object.device}`
        : `sysctl net.ipv6.conf.${object.device}.${object.name}=${object.on ? 1 : 0}`;
    case "route":
      if (object.type !== undefined) return `${object.type} route ${object.destination}`;
      return `route ${object.destination}${object.via === undefined ? "" : ` via ${object.via}`} dev ${object.device}${object.onlink ? " onlink" : ""}`;
    case "neighbour":
      return `neighbour ${object.address} lladdr ${object.mac} dev ${object.device}`;
    case "fdb":
      return `fdb ${object.mac} dst ${object.destination} dev ${object.device}${object.detour === undefined ? "" : ` ${object.detour}`}`;
    case "tunnel":
      return `tunnel ${object.device} for ${object.subnet ?? "nothing yet"} on UDP ${object.local}:${object.port}${object.strictSource ? "" : ", any source"}`;
    case "forwarding":
      return `forwarding ${object.destination} to ${object.peer} dev ${object.device}`;
  }
}
