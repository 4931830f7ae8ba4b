/**
 * The registry of kinds, and what a host should have, as plain values: the vocabulary between backends (which plan), the
 * reconciler (which compares) and the providers (which observe and change). Everything is text and numbers, so that a
 * state can be printed, stored and replayed; addresses are in canonical text form, devices go by name.
 */

import { address } from "./kinds/address.ts";
import { allowedIp } from "./kinds/allowed-ip.ts";
import { cloudRoute } from "./kinds/cloud-route.ts";
import { extensionPeer } from "./kinds/extension-peer.ts";
import { extensionStartup } from "./kinds/extension-startup.ts";
import { fdb } from "./kinds/fdb.ts";
import { forwardingEntry } from "./kinds/forwarding-entry.ts";
import { ipsecConnection } from "./kinds/ipsec-connection.ts";
import { link } from "./kinds/link.ts";
import { neighbour } from "./kinds/neighbour.ts";
import { route } from "./kinds/route.ts";
import { setting } from "./kinds/setting.ts";
import { tunnel } from "./kinds/tunnel.ts";
import { wireguard } from "./kinds/wireguard.ts";
import { wireguardPeer } from "./kinds/wireguard-peer.ts";
import { xfrmPolicy } from "./kinds/xfrm-policy.ts";
import type { ObjectKind } from "./object-kind.ts";
import type { Change, ObjectBase, Operation } from "./operation.ts";

export type { DeviceAddress } from "./kinds/address.ts";
export type { AllowedIp } from "./kinds/allowed-ip.ts";
export type { ExtensionPeer } from "./kinds/extension-peer.ts";
export type { ExtensionStartup } from "./kinds/extension-startup.ts";
export type { FdbEntry } from "./kinds/fdb.ts";
export type { ForwardingEntry } from "./kinds/forwarding-entry.ts";
export type { IpsecConnection } from "./kinds/ipsec-connection.ts";
export type { ForeignLink, Link } from "./kinds/link.ts";
export { linkKey } from "./kinds/link.ts";
export type { VxlanLink } from "./kinds/links/vxlan.ts";
export type { Neighbour } from "./kinds/neighbour.ts";
export type { Route } from "./kinds/route.ts";
export { RTPROT_FLANNEL } from "./kinds/route.ts";
export type { DeviceSetting } from "./kinds/setting.ts";
export type { UdpTunnel } from "./kinds/tunnel.ts";
export type { WireguardIdentity } from "./kinds/wireguard.ts";
export type { WireguardPeerEntry } from "./kinds/wireguard-peer.ts";
export type { XfrmPolicyObject } from "./kinds/xfrm-policy.ts";

/** In the order in which objects are made; they are removed in the reverse order. */
export const KINDS = [
  link,
  setting,
  address,
  fdb,
  neighbour,
  tunnel,
  forwardingEntry,
  wireguard,
  wireguardPeer,
  allowedIp,
  // Policies first: a packet that waits for its tunnel never leaves unencrypted.
  xfrmPolicy,
  ipsecConnection,
  extensionStartup,
  extensionPeer,
  route,
  // Last: a failing cloud is no reason for anything on this host to wait.
  cloudRoute,
] as const;

/** One desired or observed object, a union discriminated by `kind`. */
export type StateObject = (typeof KINDS)[number] extends infer K
  ? K extends ObjectKind<infer O>
    ? O
    : never
  : never;

/** The name of a kind: "link", "route", … */
export type StateKind = StateObject["kind"];

/** An operation on one object: create, replace or remove. */
export type StateOperation = Operation<StateObject>;

/** The operations that put an object in place: create or replace. */
export type StateChange = Change<StateObject>;

/** Objects by {@link keyOf}: what this host should hold, or was observed to hold. */
export type State = ReadonlyMap<string, StateObject>;

const BY_NAME = Object.fromEntries(KINDS.map((kind) => [kind.kind, kind])) as Record<
  string,
  ObjectKind<StateObject>
>;

/** Place of each kind in {@link KINDS}. */
export const RANK = Object.fromEntries(KINDS.map(({ kind }, rank) => [kind, rank])) as Readonly<
  Record<StateKind, number>
>;

/** The module of an object's kind. */
export const kindOf = <O extends ObjectBase>(object: O): ObjectKind<StateObject> => BY_NAME[object.kind]!;

/** What makes two objects the same thing, possibly with other contents. */
export const keyOf = (object: StateObject): string => kindOf(object).key(object);

/** The device that an object depends on, or is; "" = none. */
export const deviceOf = (object: StateObject): string => kindOf(object).device(object);

/** One line for logs and `plan` output, in the words of ip(8) and bridge(8). */
export const describeObject = (object: StateObject): string => kindOf(object).describe(object);

/** Whether two objects are equal in every field. */
export function sameObject(a: StateObject, b: StateObject): boolean {
  if (a === b) return true;
  const left = a as unknown as Record<string, unknown>;
  const right = b as unknown as Record<string, unknown>;
  for (const field in left) if (left[field] !== right[field]) return false;
  for (const field in right) if (!(field in left)) return false;
  return true;
}
