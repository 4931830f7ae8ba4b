/** TCP and UDP headers in packet memory (RFC 9293 §3.1, RFC 768): where the fields are, and their checksum. */

import { foldSum, IPV4_SOURCE } from "./ipv4.ts";
import { IPV6_ADDRESSES_BYTES, IPV6_SOURCE, isIpv6At } from "./ipv6.ts";
import type { PacketMemory } from "./packet-memory.ts";

export const TCP_SEQUENCE = 4;
export const TCP_ACKNOWLEDGEMENT = 8;
/** Upper half: length of the header in 32-bit words. */
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECKSUM = 16;
export const TCP_URGENT = 18;
export const TCP_HEADER_BYTES = 20;

export const TCP_FIN = 0x01;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_ECE = 0x40;
export const TCP_CWR = 0x80;

export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;
export const UDP_HEADER_BYTES = 8;

/**
 * Sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) for `length` bytes, below 2^16, of `protocol` in the IPv4 packet at `ip`,
 * or the IPv6 packet without extension headers; not complemented.
 */
export function pseudoHeaderSum(memory: PacketMemory, ip: number, protocol: number, length: number): number {
  const { bytes, view } = memory;
  if (isIpv6At(bytes, ip))
    return foldSum(memory.sum(ip + IPV6_SOURCE, IPV6_ADDRESSES_BYTES) + protocol + length);
  const source = view.getUint32(ip + IPV4_SOURCE);
  const destination = view.getUint32(ip + IPV4_SOURCE + 4);
  return foldSum(
    (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length,
  );
}
