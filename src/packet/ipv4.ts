/** IPv4 headers in packet memory (RFC 791): field offsets, validation, TTL. */

import type { PacketMemory } from "./packet-memory.ts";

// RFC 791 §3.1: offsets of the fields.
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_ID = 4;
export const IPV4_FRAGMENT = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SOURCE = 12;
export const IPV4_DESTINATION = 16;
export const IPV4_HEADER_BYTES = 20;

/** In the field at IPV4_FRAGMENT: don't fragment, the offset's bits. */
export const IP_DF = 0x4000;
export const IP_OFFSET_MASK = 0x1fff;

// IANA protocol numbers
export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;

/** What {@link checkIpv4} found. */
export const IPV4_OK = 0;
const IPV4_MALFORMED = 1;
export const IPV4_OTHER_VERSION = 2;

/** Header length in bytes, as the packet at `offset` says. */
export const headerBytesOf = (bytes: Uint8Array, offset: number): number => (bytes[offset]! & 15) * 4;

/** Whether `length` bytes at `offset` are one complete IPv4 packet: header lengths, total length, header checksum. */
export function checkIpv4(memory: PacketMemory, offset: number, length: number): number {
  const { bytes, view } = memory;
  if (length < 1) return IPV4_MALFORMED;
  const first = bytes[offset]!;
  if (first >> 4 !== 4) return IPV4_OTHER_VERSION;
  if (length < IPV4_HEADER_BYTES || view.getUint16(offset + IPV4_TOTAL_LENGTH) !== length)
    return IPV4_MALFORMED;
  if (first === 0x45) return sumOfPlainHeader(view, offset) === 0xffff ? IPV4_OK : IPV4_MALFORMED;
  const headerBytes = (first & 15) * 4;
  if (headerBytes < IPV4_HEADER_BYTES || headerBytes > length) return IPV4_MALFORMED;
  return memory.sum(offset, headerBytes) === 0xffff ? IPV4_OK : IPV4_MALFORMED;
}

/** Sum of the 20 bytes of a header without options. */
export function sumOfPlainHeader(view: DataView, offset: number): number {
  let sum = 0;
  for (let at = offset; at < offset + IPV4_HEADER_BYTES; at += 4) {
    const word = view.getUint32(at);
    sum += (word >>> 16) + (word & 0xffff);
  }
  return foldSum(sum);
}

/** Folds a sum of 16-bit words (below 2^32) to 16 bits by end-around carry (RFC 1071 §1). */
export function foldSum(sum: number): number {
  const once = (sum >>> 16) + (sum & 0xffff);
  return (once >>> 16) + (once & 0xffff);
}

/** Decrements the TTL, which must not be 0, and updates the header checksum (RFC 1141, RFC 1624). */
export function decrementTtl({ bytes, view }: PacketMemory, offset: number): void {
  bytes[offset + IPV4_TTL] = bytes[offset + IPV4_TTL]! - 1;
  // The TTL is the upper half of its 16-bit word, so the complement of the sum grows by 0x0100.
  const sum = view.getUint16(offset + IPV4_CHECKSUM) + 0x0100;
  view.setUint16(offset + IPV4_CHECKSUM, sum >= 0xffff ? sum - 0xffff : sum);
}
