/** IPsec policies (xfrm, linux/xfrm.h): which packets need a tunnel. `struct xfrm_userpolicy_info` with one XFRMA_TMPL. */

import { attributeTable } from "./attribute.ts";
import { familyOfText, fromAf, splitPrefix, toAf } from "./family.ts";
import { ip, bytes as rawBytes, u16, u32 } from "./kind.ts";
import { type Layout, type NetlinkMessage, type NetlinkRequest, requestOf } from "./message.ts";
import { NetlinkDecodeError } from "./netlink-error.ts";
import { Writer } from "./writer.ts";

const XFRM_MSG_NEWPOLICY = 0x13;
const XFRM_MSG_DELPOLICY = 0x14;
const XFRM_MSG_GETPOLICY = 0x15;
const XFRM_MSG_UPDPOLICY = 0x19;
/** Multicast group of policies (enum xfrm_nlgroups). */
export const XFRMNLGRP_POLICY = 4;

/** Direction of a policy (enum, linux/xfrm.h), by its number. */
const XFRM_POLICY_DIRECTIONS = ["in", "out", "fwd"] as const;

const XFRM_POLICY_ALLOW = 0;
const XFRM_MODE_TUNNEL = 1;
const IPPROTO_ESP = 50;
/** No limit (XFRM_INF). */
const XFRM_INF = 0xffff_ffff_ffff_ffffn;

/** Policies of sockets (IP_XFRM_POLICY, ip(7)) are dumped too, with this added to their direction. */
const XFRM_POLICY_MAX = XFRM_POLICY_DIRECTIONS.length;

const POLICY_INFO_BYTES = 168;
const DIRECTION_AT = 160;
const TEMPLATE_BYTES = 64;

/** An ESP tunnel that the packets from `source` to `destination` have to go, or have come, through. */
export interface XfrmPolicy {
  /** "in" = received for this host, "out" = sent, "fwd" = received and forwarded. */
  readonly direction: (typeof XFRM_POLICY_DIRECTIONS)[number];
  /** "10.5.1.0/24". */
  readonly source: string;
  readonly destination: string;
  /** Ends of the tunnel. */
  readonly tunnelSource: string;
  readonly tunnelDestination: string;
  /** Number that ties policies to the security associations that serve them. */
  readonly reqid: number;
}

const ATTRIBUTES = attributeTable({ XFRMA_TMPL: [5, "template", rawBytes] });

/** `xfrm_address_t`: 16 bytes, of which IPv4 uses the first four. */
function writeAddress(writer: Writer, address: string): void {
  ip.encode(writer, address);
  if (familyOfText(address) === 4) for (let left = 12; left > 0; left--) writer.u8(0);
}

const readAddress = (bytes: Uint8Array, at: number, af: number): string =>
  ip.decode(bytes, at, at + (fromAf(af) === 4 ? 4 : 16));

/** `struct xfrm_selector`. */
function writeSelector(writer: Writer, { source, destination }: XfrmPolicy): void {
  const [from, to] = [splitPrefix(source), splitPrefix(destination)];
  writeAddress(writer, to.address);
  writeAddress(writer, from.address);
  writer.u32(0); // dport, dport_mask
  writer.u32(0); // sport, sport_mask
  writer.u16(toAf(familyOfText(source)));
  writer.u8(to.length);
  writer.u8(from.length);
  writer.u32(0); // proto: any
  writer.u32(0); // ifindex: any
  writer.u32(0); // user
}

/** `struct xfrm_user_tmpl`. */
function templateOf({ tunnelSource, tunnelDestination, reqid }: XfrmPolicy): Uint8Array {
  const writer = new Writer();
  writeAddress(writer, tunnelDestination);
  writer.u32(0); // spi: any
  writer.u32(IPPROTO_ESP); // and padding
  writer.u32(toAf(familyOfText(tunnelSource))); // and padding
  writeAddress(writer, tunnelSource);
  writer.u32(reqid);
  writer.u32(XFRM_MODE_TUNNEL); // share any, not optional
  for (let algorithms = 3; algorithms > 0; algorithms--) writer.u32(0xffff_ffff);
  return writer.written.slice();
}

/** `struct xfrm_userpolicy_info` and the template. */
const POLICY: Layout<XfrmPolicy> = {
  decode(bytes, start, end) {
    const fail = (what: string): never => {
      throw new NetlinkDecodeError(`xfrm policy: ${what}`, start);
    };
    if (end - start < POLICY_INFO_BYTES) fail(`${end - start} bytes`);
    const direction =
      XFRM_POLICY_DIRECTIONS[bytes[start + DIRECTION_AT]!] ??
      fail(`direction ${bytes[start + DIRECTION_AT]}`);
    const af = u16.decode(bytes, start + 40, end);
    const attributes: { template?: Uint8Array } = {};
    ATTRIBUTES.decodeInto(attributes as Record<string, unknown>, bytes, start + POLICY_INFO_BYTES, end);
    const template = attributes.template ?? new Uint8Array(TEMPLATE_BYTES);
    if (template.length < TEMPLATE_BYTES) fail(`a template of ${template.length} bytes`);
    const outer = u16.decode(template, 24, template.length);
    return {
      direction,
      source: `${readAddress(bytes, start + 16, af)}/${bytes[start + 43]}`,
      destination: `${readAddress(bytes, start, af)}/${bytes[start + 42]}`,
      tunnelSource: readAddress(template, 28, outer),
      tunnelDestination: readAddress(template, 0, outer),
      // Several templates, or one of another kind, are none of ours.
      reqid:
        template.length === TEMPLATE_BYTES &&
        template[20] === IPPROTO_ESP &&
        template[48] === XFRM_MODE_TUNNEL
          ? u32.decode(template, 44, template.length)
          : 0,
    };
  },
  encode(writer, value) {
    const policy = value as XfrmPolicy;
    writeSelector(writer, policy);
    for (let limits = 4; limits > 0; limits--) writer.u64(XFRM_INF); // bytes and packets
    for (let limits = 4; limits > 0; limits--) writer.u64(0n); // seconds
    for (let counters = 4; counters > 0; counters--) writer.u64(0n);
    writer.u32(0); // priority
    writer.u32(0); // index: the kernel chooses
    writer.u8(XFRM_POLICY_DIRECTIONS.indexOf(policy.direction));
    writer.u8(XFRM_POLICY_ALLOW);
    writer.u16(0); // flags, share
    writer.u32(0); // padding
    ATTRIBUTES.encode(writer, { template: templateOf(policy) });
  },
};

/** `struct xfrm_userpolicy_id`. */
const POLICY_ID: Layout<XfrmPolicy> = {
  decode: () => {
    throw new NetlinkDecodeError("xfrm_userpolicy_id is never received", 0);
  },
  encode(writer, value) {
    const policy = value as XfrmPolicy;
    writeSelector(writer, policy);
    writer.u32(0); // index
    writer.u32(XFRM_POLICY_DIRECTIONS.indexOf(policy.direction));
  },
};

/** An empty body. */
const NOTHING: Layout<object> = { decode: () => ({}), encode: () => {} };

/** Decodes XFRM_MSG_NEWPOLICY, of a dump; undefined = the policy of one socket, whose direction is XFRM_POLICY_MAX or more. */
export const decodeXfrmPolicy = ({ bytes, start, end }: NetlinkMessage): XfrmPolicy | undefined =>
  end - start >= POLICY_INFO_BYTES && bytes[start + DIRECTION_AT]! >= XFRM_POLICY_MAX
    ? undefined
    : POLICY.decode(bytes, start, end);

/** Makes a policy; EEXIST if there is one for these packets. */
export const newXfrmPolicy = (policy: XfrmPolicy): NetlinkRequest =>
  requestOf("XFRM_MSG_NEWPOLICY", XFRM_MSG_NEWPOLICY, 0, POLICY, policy);

/** Makes a policy, or replaces the one for these packets. */
export const updateXfrmPolicy = (policy: XfrmPolicy): NetlinkRequest =>
  requestOf("XFRM_MSG_UPDPOLICY", XFRM_MSG_UPDPOLICY, 0, POLICY, policy);

/** Removes the policy for these packets; ENOENT if there is none. */
export const deleteXfrmPolicy = (policy: XfrmPolicy): NetlinkRequest =>
  requestOf("XFRM_MSG_DELPOLICY", XFRM_MSG_DELPOLICY, 0, POLICY_ID, policy);

/** Asks for all policies, in a dump. */
export const getXfrmPolicies = (): NetlinkRequest =>
  requestOf("XFRM_MSG_GETPOLICY", XFRM_MSG_GETPOLICY, 0, NOTHING, {});
