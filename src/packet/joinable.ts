/** Which packets may be joined with others of their flow. See coalescing.ts. */

import {
  foldSum,
  IP_DF,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV4_FRAGMENT,
  IPV4_HEADER_BYTES,
  IPV4_PROTOCOL,
  IPV4_TTL,
} from "./ipv4.ts";
import {
  IPV6_DESTINATION,
  IPV6_HEADER_BYTES,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
  isIpv6At,
} from "./ipv6.ts";
import type { PacketMemory } from "./packet-memory.ts";
import {
  pseudoHeaderSum,
  TCP_ACK,
  TCP_ACKNOWLEDGEMENT,
  TCP_DATA_OFFSET,
  TCP_ECE,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_BYTES,
  TCP_PSH,
  TCP_URGENT,
  TCP_WINDOW,
  UDP_CHECKSUM,
  UDP_HEADER_BYTES,
  UDP_LENGTH,
} from "./transport.ts";

const IPV4_TOS = 1;

/**
 * Length of IP and transport header together; 0 if the packet must be passed on unchanged: no TCP or UDP, IP options
 * or extension headers, a fragment, no payload, flags that concern one segment alone (SYN, RST, URG, CWR), or a checksum that is wrong or,
 * for UDP, absent.
 */
export function joinableHeaderBytes(memory: PacketMemory, offset: number, length: number): number {
  const { bytes, view } = memory;
  const isIpv6 = isIpv6At(bytes, offset);
  const isPlain = isIpv6
    ? view.getUint16(offset + IPV6_PAYLOAD_LENGTH) === length - IPV6_HEADER_BYTES
    : bytes[offset] === 0x45 && (view.getUint16(offset + IPV4_FRAGMENT) & ~IP_DF) === 0;
  if (!isPlain) return 0;
  const ipHeaderBytes = isIpv6 ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES;
  const transport = offset + ipHeaderBytes;
  const transportBytes = length - ipHeaderBytes;
  let headerBytes = 0;
  const protocol = bytes[offset + (isIpv6 ? IPV6_NEXT_HEADER : IPV4_PROTOCOL)]!;
  if (protocol === IPPROTO_TCP) {
    if (transportBytes <= TCP_HEADER_BYTES) return 0;
    headerBytes = (bytes[transport + TCP_DATA_OFFSET]! >> 4) * 4;
    if (headerBytes < TCP_HEADER_BYTES || headerBytes >= transportBytes) return 0;
    if ((bytes[transport + TCP_FLAGS]! & ~(TCP_PSH | TCP_FIN | TCP_ECE)) !== TCP_ACK) return 0;
  } else if (protocol === IPPROTO_UDP) {
    headerBytes = UDP_HEADER_BYTES;
    if (transportBytes <= headerBytes || view.getUint16(transport + UDP_LENGTH) !== transportBytes) return 0;
    if (view.getUint16(transport + UDP_CHECKSUM) === 0) return 0;
  } else {
    return 0;
  }
  const sum =
    memory.sum(transport, transportBytes) + pseudoHeaderSum(memory, offset, protocol, transportBytes);
  return foldSum(sum) === 0xffff ? ipHeaderBytes + headerBytes : 0;
}

/**
 * Whether the headers of the joinable packet at `next` are those at `first` in all that segmentation copies. Version, addresses,
 * ports and the header length (`headerBytes`) are known to be equal; IPv4 id, sequence number and lengths are compared
 * by the caller.
 */
export function continuesHeaders(
  { bytes, view }: PacketMemory,
  first: number,
  next: number,
  headerBytes: number,
): boolean {
  const isIpv6 = isIpv6At(bytes, first);
  if (isIpv6) {
    // Traffic class and flow label.
    if (view.getInt32(first) !== view.getInt32(next)) return false;
    if (bytes[first + IPV6_HOP_LIMIT] !== bytes[next + IPV6_HOP_LIMIT]) return false;
  } else if (
    bytes[first + IPV4_TOS] !== bytes[next + IPV4_TOS] ||
    bytes[first + IPV4_TTL] !== bytes[next + IPV4_TTL] ||
    view.getUint16(first + IPV4_FRAGMENT) !== view.getUint16(next + IPV4_FRAGMENT)
  )
    return false;
  if (bytes[first + (isIpv6 ? IPV6_NEXT_HEADER : IPV4_PROTOCOL)] !== IPPROTO_TCP) return true;
  const ipHeaderBytes = isIpv6 ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES;
  const a = first + ipHeaderBytes;
  const b = next + ipHeaderBytes;
  if (
    view.getInt32(a + TCP_ACKNOWLEDGEMENT) !== view.getInt32(b + TCP_ACKNOWLEDGEMENT) ||
    bytes[a + TCP_DATA_OFFSET] !== bytes[b + TCP_DATA_OFFSET] ||
    ((bytes[a + TCP_FLAGS]! ^ bytes[b + TCP_FLAGS]!) & ~(TCP_PSH | TCP_FIN)) !== 0 ||
    view.getUint16(a + TCP_WINDOW) !== view.getUint16(b + TCP_WINDOW) ||
    view.getUint16(a + TCP_URGENT) !== view.getUint16(b + TCP_URGENT)
  )
    return false;
  const optionBytes = headerBytes - ipHeaderBytes - TCP_HEADER_BYTES;
  for (let at = TCP_HEADER_BYTES; at < TCP_HEADER_BYTES + optionBytes; at += 4) {
    if (view.getInt32(a + at) !== view.getInt32(b + at)) return false;
  }
  return true;
}

/** Whether the addresses of two IPv6 packets are equal but for the last 32 bits of each. */
export function haveSamePrefixes({ view }: PacketMemory, a: number, b: number): boolean {
  for (let at = 0; at < 12; at += 4) {
    if (
      view.getInt32(a + IPV6_SOURCE + at) !== view.getInt32(b + IPV6_SOURCE + at) ||
      view.getInt32(a + IPV6_DESTINATION + at) !== view.getInt32(b + IPV6_DESTINATION + at)
    )
      return false;
  }
  return true;
}
