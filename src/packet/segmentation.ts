/**
 * Splits a super-packet of the kernel (TCP or UDP segmentation offload) into the packets that are sent, as the
 * kernel itself does (net/ipv4/tcp_offload.c, udp_offload.c, net/ipv6/ip6_offload.c): each with its own IPv4 id, length,
 * sequence number, flags and complete checksums. Only headers are written; payloads stay where they are.
 */

import {
  foldSum,
  headerBytesOf,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV4_CHECKSUM,
  IPV4_ID,
  IPV4_PROTOCOL,
  IPV4_TOTAL_LENGTH,
} from "./ipv4.ts";
import { IPV6_HEADER_BYTES, IPV6_NEXT_HEADER, IPV6_PAYLOAD_LENGTH, isIpv6At } from "./ipv6.ts";
import type { PacketMemory } from "./packet-memory.ts";
import {
  pseudoHeaderSum,
  TCP_CHECKSUM,
  TCP_CWR,
  TCP_DATA_OFFSET,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_BYTES,
  TCP_PSH,
  TCP_SEQUENCE,
  UDP_CHECKSUM,
  UDP_HEADER_BYTES,
  UDP_LENGTH,
} from "./transport.ts";
import {
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from "./virtio-net-header.ts";

/** Longest headers in bytes: IP and TCP with all options. */
export const MOST_HEADER_BYTES = 120;

/** The super-packet being split; created once and reused. */
export interface Segmentation {
  /** Where its IP header is: a multiple of 4. */
  offset: number;
  /** IP and transport header together. */
  headerBytes: number;
  /** Payload of each segment but the last. */
  segmentBytes: number;
  payloadBytes: number;
  /** Number of segments, at least 1. */
  count: number;
  ipHeaderBytes: number;
  isIpv6: boolean;
  isTcp: boolean;
  /** Of IPv4. */
  id: number;
  sequence: number;
  flags: number;
  /** Sums of everything in the headers that all segments have in common; IPv6 has no header checksum. */
  ipSum: number;
  transportSum: number;
}

/** An empty one, to be used again for every super-packet, so that splitting allocates nothing. */
export const createSegmentation = (): Segmentation => ({
  offset: 0,
  headerBytes: 0,
  segmentBytes: 0,
  payloadBytes: 0,
  count: 0,
  ipHeaderBytes: 0,
  isIpv6: false,
  isTcp: true,
  id: 0,
  sequence: 0,
  flags: 0,
  ipSum: 0,
  transportSum: 0,
});

/**
 * Begins to split the packet of `length` bytes at `offset` into payloads of `gsoSize`: IPv4, already checked, or IPv6. False
 * if it is malformed: its protocol is not that of its virtio type, its headers are longer than the packet, or it has no
 * segment size; or if it has extension headers of IPv6.
 */
export function beginSegmentation(
  segmentation: Segmentation,
  memory: PacketMemory,
  offset: number,
  length: number,
  gsoType: number,
  gsoSize: number,
): boolean {
  const { bytes, view } = memory;
  const type = gsoType & ~VIRTIO_NET_HDR_GSO_ECN;
  const isIpv6 = isIpv6At(bytes, offset);
  if (
    isIpv6 &&
    (length < IPV6_HEADER_BYTES ||
      view.getUint16(offset + IPV6_PAYLOAD_LENGTH) + IPV6_HEADER_BYTES !== length)
  )
    return false;
  const protocol = bytes[offset + (isIpv6 ? IPV6_NEXT_HEADER : IPV4_PROTOCOL)]!;
  const tcpType = isIpv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
  const isTcp = type === tcpType && protocol === IPPROTO_TCP;
  if (!isTcp && !(type === VIRTIO_NET_HDR_GSO_UDP_L4 && protocol === IPPROTO_UDP)) return false;
  const ipHeaderBytes = isIpv6 ? IPV6_HEADER_BYTES : headerBytesOf(bytes, offset);
  const transport = offset + ipHeaderBytes;
  if (length < ipHeaderBytes + (isTcp ? TCP_HEADER_BYTES : UDP_HEADER_BYTES) || gsoSize === 0) return false;
  const transportBytes = isTcp ? (bytes[transport + TCP_DATA_OFFSET]! >> 4) * 4 : UDP_HEADER_BYTES;
  const payloadBytes = length - ipHeaderBytes - transportBytes;
  if (payloadBytes < 0 || (isTcp && transportBytes < TCP_HEADER_BYTES)) return false;

  segmentation.offset = offset;
  segmentation.ipHeaderBytes = ipHeaderBytes;
  segmentation.headerBytes = ipHeaderBytes + transportBytes;
  segmentation.payloadBytes = payloadBytes;
  segmentation.segmentBytes = gsoSize;
  segmentation.count = Math.max(1, Math.ceil(payloadBytes / gsoSize));
  segmentation.isIpv6 = isIpv6;
  segmentation.isTcp = isTcp;
  if (!isIpv6) {
    segmentation.id = view.getUint16(offset + IPV4_ID);
    view.setUint16(offset + IPV4_TOTAL_LENGTH, 0);
    view.setUint16(offset + IPV4_ID, 0);
    view.setUint16(offset + IPV4_CHECKSUM, 0);
    segmentation.ipSum = memory.sum(offset, ipHeaderBytes);
  }
  if (isTcp) {
    segmentation.sequence = view.getUint32(transport + TCP_SEQUENCE);
    segmentation.flags = bytes[transport + TCP_FLAGS]!;
    view.setUint32(transport + TCP_SEQUENCE, 0);
    view.setUint8(transport + TCP_FLAGS, 0);
    view.setUint16(transport + TCP_CHECKSUM, 0);
  } else {
    view.setUint16(transport + UDP_LENGTH, 0);
    view.setUint16(transport + UDP_CHECKSUM, 0);
  }
  segmentation.transportSum =
    memory.sum(transport, transportBytes) + pseudoHeaderSum(memory, offset, protocol, 0);
  return true;
}

/** Payload bytes of the segment with this index. */
export const payloadBytesOf = (segmentation: Segmentation, index: number): number =>
  Math.min(segmentation.segmentBytes, segmentation.payloadBytes - index * segmentation.segmentBytes);

/**
 * Writes the headers of the segment with this index to `target`: a multiple of 4 with room for MOST_HEADER_BYTES, or
 * the packet's own place.
 */
export function writeSegmentHeaders(
  segmentation: Segmentation,
  memory: PacketMemory,
  index: number,
  target: number,
): void {
  const { view, words } = memory;
  const { offset, headerBytes, ipHeaderBytes, segmentBytes } = segmentation;
  if (target !== offset) {
    const distance = (target - offset) >> 2;
    const end = (offset + headerBytes + 3) >> 2;
    for (let word = offset >> 2; word < end; word++) words[word + distance] = words[word]!;
  }
  const payloadBytes = payloadBytesOf(segmentation, index);
  const totalBytes = headerBytes + payloadBytes;
  if (segmentation.isIpv6) view.setUint16(target + IPV6_PAYLOAD_LENGTH, totalBytes - IPV6_HEADER_BYTES);
  else {
    const id = (segmentation.id + index) & 0xffff;
    view.setUint16(target + IPV4_TOTAL_LENGTH, totalBytes);
    view.setUint16(target + IPV4_ID, id);
    view.setUint16(target + IPV4_CHECKSUM, ~foldSum(segmentation.ipSum + totalBytes + id) & 0xffff);
  }

  const transport = target + ipHeaderBytes;
  const payloadSum = memory.sum(offset + headerBytes + index * segmentBytes, payloadBytes);
  const transportBytes = totalBytes - ipHeaderBytes;
  const sum = segmentation.transportSum + payloadSum + transportBytes;
  if (segmentation.isTcp) {
    const sequence = (segmentation.sequence + index * segmentBytes) >>> 0;
    const flags = flagsOf(segmentation, index);
    view.setUint32(transport + TCP_SEQUENCE, sequence);
    view.setUint8(transport + TCP_FLAGS, flags);
    const checksum = ~foldSum(sum + (sequence >>> 16) + (sequence & 0xffff) + flags) & 0xffff;
    view.setUint16(transport + TCP_CHECKSUM, checksum);
  } else {
    view.setUint16(transport + UDP_LENGTH, transportBytes);
    // The length is summed twice: in the pseudo-header and here. 0 would mean “no checksum” (RFC 768).
    view.setUint16(transport + UDP_CHECKSUM, ~foldSum(sum + transportBytes) & 0xffff || 0xffff);
  }
}

/** CWR is set in the first segment only, FIN and PSH in the last (tcp_gso_segment()). */
function flagsOf({ flags, count }: Segmentation, index: number): number {
  const upToLast = index === count - 1 ? flags : flags & ~(TCP_FIN | TCP_PSH);
  return index === 0 ? upToLast : upToLast & ~TCP_CWR;
}
