/** Addresses of devices: `struct ifaddrmsg` and IFA_… (linux/if_addr.h; rtnetlink(7)). */

import type { Family } from "../address/ip.ts";
import { attributeTable } from "./attribute.ts";
import { familyOfText, fromAf, splitPrefix, toAf } from "./family.ts";
import { ip, string, u8, u32 } from "./kind.ts";
import {
  layoutOf,
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  requestOf,
} from "./message.ts";
import { struct } from "./struct.ts";

// linux/rtnetlink.h
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

// linux/if_addr.h, ifa_flags
export const IFA_F_SECONDARY = 0x01;
export const IFA_F_NODAD = 0x02;
export const IFA_F_DADFAILED = 0x08;
export const IFA_F_DEPRECATED = 0x20;
export const IFA_F_TENTATIVE = 0x40;
export const IFA_F_PERMANENT = 0x80;

const IFADDRMSG = struct("ifaddrmsg", [
  ["af", u8],
  ["prefixLength", u8],
  ["lowFlags", u8],
  ["scope", u8],
  ["ifindex", u32],
]);

const ADDRESS_ATTRIBUTES = attributeTable({
  IFA_ADDRESS: [1, "address", ip],
  IFA_LOCAL: [2, "local", ip],
  IFA_LABEL: [3, "label", string],
  IFA_BROADCAST: [4, "broadcast", ip],
  IFA_FLAGS: [8, "flags", u32],
});

const ADDRESS = layoutOf(IFADDRMSG, ADDRESS_ATTRIBUTES);

/** An address on a device. */
export interface InterfaceAddress {
  readonly family: Family;
  readonly ifindex: number;
  /** The host's own address, "10.5.1.0". */
  readonly address: string;
  readonly prefixLength: number;
  /** "10.5.1.0/32". */
  readonly prefix: string;
  /** The other end's address on a point-to-point device. */
  readonly peer: string | undefined;
  /** RT_SCOPE_… (route.ts). */
  readonly scope: number;
  /** IFA_F_… */
  readonly flags: number;
  readonly label: string | undefined;
}

/** Decodes RTM_NEWADDR or RTM_DELADDR; undefined if it is of neither family. Throws NetlinkDecodeError. */
export function decodeAddress(message: NetlinkMessage): InterfaceAddress | undefined {
  const body = ADDRESS.decode(message.bytes, message.start, message.end);
  const family = fromAf(body.af);
  const own = body.local ?? body.address;
  if (family === undefined || own === undefined) return undefined;
  return {
    family,
    ifindex: body.ifindex,
    address: own,
    prefixLength: body.prefixLength,
    prefix: `${own}/${body.prefixLength}`,
    peer: body.address === own ? undefined : body.address,
    scope: body.scope,
    flags: body.flags ?? body.lowFlags,
    label: body.label,
  };
}

/** An address to be put on a device, or taken off. */
export interface AddressSpec {
  readonly ifindex: number;
  /** "10.5.1.0/32". */
  readonly prefix: string;
  /** RT_SCOPE_…; default universe. */
  readonly scope?: number;
  /** IFA_F_…; IPv6 addresses of containers and tunnels want IFA_F_NODAD. */
  readonly flags?: number;
  readonly broadcast?: string;
}

function request(name: string, type: number, flags: number, spec: AddressSpec): NetlinkRequest {
  const { address, length } = splitPrefix(spec.prefix);
  const body = {
    af: toAf(familyOfText(address)),
    prefixLength: length,
    scope: spec.scope ?? 0,
    ifindex: spec.ifindex,
    address,
    local: address,
    broadcast: spec.broadcast,
    flags: spec.flags,
  };
  return requestOf(name, type, flags, ADDRESS, body);
}

/** Adds an address; EEXIST if it is there. With `replace` its flags are changed then instead. */
export const newAddress = (spec: AddressSpec, mode: "create" | "replace" = "create"): NetlinkRequest =>
  request("RTM_NEWADDR", RTM_NEWADDR, NLM_F_CREATE | (mode === "create" ? NLM_F_EXCL : NLM_F_REPLACE), spec);

/** Takes an address off; EADDRNOTAVAIL if it is not there. */
export const deleteAddress = (spec: AddressSpec): NetlinkRequest =>
  request("RTM_DELADDR", RTM_DELADDR, 0, spec);

/** Asks for addresses, in a dump: all, of one family, or of one device (a filter that old kernels ignore). */
export const getAddresses = (family: Family | undefined, ifindex?: number): NetlinkRequest =>
  requestOf("RTM_GETADDR", RTM_GETADDR, 0, ADDRESS, { af: family === undefined ? 0 : toAf(family), ifindex });
