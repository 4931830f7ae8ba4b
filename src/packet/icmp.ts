/** ICMP errors (RFC 792, RFC 1191, RFC 1812 §4.3): which packets they may be sent for, and their format. */

import {
  headerBytesOf,
  IP_OFFSET_MASK,
  IPPROTO_ICMP,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_HEADER_BYTES,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV4_TOTAL_LENGTH,
  IPV4_TTL,
} from "./ipv4.ts";
import type { PacketMemory } from "./packet-memory.ts";

const ICMP_HEADER_BYTES = 8;
const ICMP_TYPE = 0;
const ICMP_CODE = 1;
const ICMP_CHECKSUM = 2;
const ICMP_NEXT_HOP_MTU = 6;

/** Types of queries and replies (RFC 1122 §3.2.2); all others are errors. */
const QUERY_TYPES: readonly number[] = [0, 8, 13, 14, 15, 16, 17, 18];

/** Largest error in bytes (RFC 1812 §4.3.2.3), so that it passes everywhere. */
const MOST_ERROR_BYTES = 576;
const TTL = 64;
/** Precedence “internetwork control” (RFC 1812 §4.3.2.5). */
const TOS_INTERNETWORK_CONTROL = 0xc0;

/** Room that {@link writeIcmpError} needs. */
export const ICMP_ERROR_BYTES = MOST_ERROR_BYTES;

/** The errors that the data path sends. */
export interface IcmpError {
  readonly type: number;
  readonly code: number;
  /** Next-hop MTU (RFC 1191), for fragmentation needed. */
  mtuBytes: number;
}

export const NET_UNREACHABLE: IcmpError = { type: 3, code: 0, mtuBytes: 0 };
export const TIME_EXCEEDED: IcmpError = { type: 11, code: 0, mtuBytes: 0 };
/** Set `mtuBytes` before use. */
export const FRAGMENTATION_NEEDED: IcmpError = { type: 3, code: 4, mtuBytes: 0 };

/**
 * Whether the packet at `offset` may be answered with this error (RFC 1812 §4.3.2.7): not a later fragment, not an
 * ICMP error, source and destination single hosts. Network unreachable is never sent for ICMP, as in Go
 * flannel; the other errors are sent for echo requests, for traceroute and MTU discovery with ping.
 */
export function mayAnswer({ bytes, view }: PacketMemory, offset: number, error: IcmpError): boolean {
  if ((view.getUint16(offset + IPV4_FRAGMENT) & IP_OFFSET_MASK) !== 0) return false;
  if (bytes[offset + IPV4_PROTOCOL] === IPPROTO_ICMP) {
    if (error.type === 3 && error.code === 0) return false;
    const header = headerBytesOf(bytes, offset);
    if (view.getUint16(offset + IPV4_TOTAL_LENGTH) < header + ICMP_HEADER_BYTES) return false;
    if (!QUERY_TYPES.includes(bytes[offset + header + ICMP_TYPE]!)) return false;
  }
  return isSingleHost(bytes[offset + IPV4_SOURCE]!) && isSingleHost(bytes[offset + IPV4_DESTINATION]!);
}

/** By the first octet: not “this network”, loopback, multicast, reserved or broadcast. */
const isSingleHost = (firstOctet: number): boolean =>
  firstOctet !== 0 && firstOctet !== 127 && firstOctet < 224;

/**
 * Writes the error about the packet of `length` bytes at `offset` to `target`, from `source` (unsigned) to the packet's
 * sender. Returns its length, at most ICMP_ERROR_BYTES. It quotes as much of the packet as fits.
 */
export function writeIcmpError(
  memory: PacketMemory,
  offset: number,
  length: number,
  error: IcmpError,
  source: number,
  target: number,
): number {
  const { bytes, view } = memory;
  const icmp = target + IPV4_HEADER_BYTES;
  const quoted = Math.min(length, MOST_ERROR_BYTES - IPV4_HEADER_BYTES - ICMP_HEADER_BYTES);
  const total = IPV4_HEADER_BYTES + ICMP_HEADER_BYTES + quoted;
  bytes.fill(0, target, icmp + ICMP_HEADER_BYTES);
  bytes.copyWithin(icmp + ICMP_HEADER_BYTES, offset, offset + quoted);

  bytes[icmp + ICMP_TYPE] = error.type;
  bytes[icmp + ICMP_CODE] = error.code;
  view.setUint16(icmp + ICMP_NEXT_HOP_MTU, error.mtuBytes);
  view.setUint16(icmp + ICMP_CHECKSUM, ~memory.sum(icmp, ICMP_HEADER_BYTES + quoted) & 0xffff);

  bytes[target] = 0x45;
  bytes[target + 1] = TOS_INTERNETWORK_CONTROL;
  view.setUint16(target + IPV4_TOTAL_LENGTH, total);
  bytes[target + IPV4_TTL] = TTL;
  bytes[target + IPV4_PROTOCOL] = IPPROTO_ICMP;
  view.setUint32(target + IPV4_SOURCE, source);
  view.setUint32(target + IPV4_DESTINATION, view.getUint32(offset + IPV4_SOURCE));
  view.setUint16(target + IPV4_CHECKSUM, ~memory.sum(target, IPV4_HEADER_BYTES) & 0xffff);
  return total;
}
