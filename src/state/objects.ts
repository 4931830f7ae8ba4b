/**
 * What a host should hold, as plain values: the vocabulary between backends (which plan), the reconciler (which
 * compares) and the kernel (which is observed and changed). Everything is text and numbers, so that a state can be
 * printed, stored and replayed; addresses are in canonical text form, devices go by name.
 */

/** A VXLAN device. A difference in a field marked (fixed) means that the device has to be made again. */
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
}

/** An address on a device. */
export interface DeviceAddress {
  readonly kind: "address";
  readonly device: string;
  /** "10.5.1.0/32". */
  readonly address: string;
}

/** A unicast route in the main table with our protocol number. */
export interface Route {
  readonly kind: "route";
  /** "10.5.2.0/24". */
  readonly destination: string;
  readonly device: string;
  /** Next hop; undefined = directly on the device. */
  readonly via: string | undefined;
  /** Pretend that the next hop is on the link (RTNH_F_ONLINK). */
  readonly onlink: boolean;
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
}

export type StateObject = VxlanLink | DeviceAddress | Route | Neighbour | FdbEntry;
export type StateKind = StateObject["kind"];

/** In the order in which things are made; they are removed in the reverse order. */
export const STATE_KINDS = [
  "link",
  "address",
  "fdb",
  "neighbour",
  "route",
] as const satisfies readonly StateKind[];

/** Everything that this host should hold. */
export type DesiredState = readonly StateObject[];
