/**
 * Joins consecutive packets of one flow into one super-packet for the kernel, whose network stack then processes
 * them at once: the reverse of segmentation.ts, by the rules of the kernel's own GRO
 * (net/ipv4/tcp_offload.c, udp_offload.c, net/ipv6/ip6_offload.c). Packets are joined only if segmentation would split them into exactly the packets
 * that were received (see joinable.ts). Payloads stay where they are; packets of one flow keep their order.
 */

import {
  foldSum,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_HEADER_BYTES,
  IPV4_ID,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV4_TOTAL_LENGTH,
  sumOfPlainHeader,
} from "./ipv4.ts";
import {
  IPV6_DESTINATION,
  IPV6_HEADER_BYTES,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
  isIpv6At,
} from "./ipv6.ts";
import { continuesHeaders, haveSamePrefixes, joinableHeaderBytes } from "./joinable.ts";
import type { PacketMemory } from "./packet-memory.ts";
import {
  pseudoHeaderSum,
  TCP_CHECKSUM,
  TCP_FIN,
  TCP_FLAGS,
  TCP_PSH,
  TCP_SEQUENCE,
  UDP_CHECKSUM,
  UDP_LENGTH,
} from "./transport.ts";
import {
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
  VNET_CSUM_OFFSET,
  VNET_CSUM_START,
  VNET_FLAGS,
  VNET_GSO_SIZE,
  VNET_GSO_TYPE,
  VNET_HEADER_BYTES,
  VNET_HEADER_LENGTH,
} from "./virtio-net-header.ts";

/** Flows that are open at the same time. */
const MOST_FLOWS = 16;
/** Most packets in a super-packet; the virtio header is one more piece. */
const MOST_PACKETS = 127;
const PIECES_PER_FLOW = MOST_PACKETS + 1;
const SINGLE = MOST_FLOWS * PIECES_PER_FLOW;
/** Largest total length of an IPv4 packet; IPv6 packets are kept to it too. */
const MOST_BYTES = 0xffff;
const VIRTIO_SLOT_BYTES = 16;

/** Memory that a coalescer needs for itself, zeroed. */
export const COALESCER_BYTES = VIRTIO_SLOT_BYTES * (MOST_FLOWS + 1);

/** Packets to be written, as pieces of packet memory. */
export interface PieceList {
  readonly pieceOffset: Int32Array;
  readonly pieceBytes: Int32Array;
}

/** Writes the packet that the pieces `first`…`first + count - 1` make up; the first piece is its virtio header. */
export type PacketWriter = (list: PieceList, first: number, count: number) => void;

/** Joins packets, at most 16 open flows at a time; the caller adds packets, then flushes. Allocates nothing per packet. */
export class Coalescer implements PieceList {
  /** The pieces of flow n begin at n * PIECES_PER_FLOW, those of a single packet at SINGLE. */
  readonly pieceOffset = new Int32Array(SINGLE + 2);
  readonly pieceBytes = new Int32Array(SINGLE + 2);
  /** Whether the kernel accepts joined packets of the protocol. */
  joinsTcp = true;
  joinsUdp = true;
  readonly #memory: PacketMemory;
  readonly #write: PacketWriter;
  /** The open flows are the first #openCount of #order, which holds the numbers of all. */
  readonly #order = Uint8Array.from({ length: MOST_FLOWS }, (_, flow) => flow);
  #openCount = 0;
  // Of each flow: its key and its progress. Of IPv6 addresses, the last 32 bits.
  readonly #ipHeaderBytes = new Uint8Array(MOST_FLOWS);
  readonly #source = new Int32Array(MOST_FLOWS);
  readonly #destination = new Int32Array(MOST_FLOWS);
  readonly #ports = new Int32Array(MOST_FLOWS);
  readonly #protocol = new Uint8Array(MOST_FLOWS);
  /** Offset of its first packet. */
  readonly #first = new Int32Array(MOST_FLOWS);
  /** IP and transport header. */
  readonly #headerBytes = new Int32Array(MOST_FLOWS);
  readonly #segmentBytes = new Int32Array(MOST_FLOWS);
  readonly #totalBytes = new Int32Array(MOST_FLOWS);
  readonly #packets = new Int32Array(MOST_FLOWS);
  readonly #nextSequence = new Int32Array(MOST_FLOWS);

  /** Uses COALESCER_BYTES of the memory at `offset`. */
  constructor(memory: PacketMemory, offset: number, write: PacketWriter) {
    this.#memory = memory;
    this.#write = write;
    for (let slot = 0; slot <= MOST_FLOWS; slot++) {
      const piece = slot * PIECES_PER_FLOW;
      this.pieceOffset[piece] = offset + slot * VIRTIO_SLOT_BYTES;
      this.pieceBytes[piece] = VNET_HEADER_BYTES;
    }
  }

  /** Adds a packet of IPv4 or IPv6 to be written, checked and complete. Its bytes must not change until {@link flush}. */
  add(offset: number, length: number): void {
    const memory = this.#memory;
    const { bytes, view } = memory;
    const isIpv6 = isIpv6At(bytes, offset);
    const ipHeaderBytes = isIpv6 ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES;
    const protocol = bytes[offset + (isIpv6 ? IPV6_NEXT_HEADER : IPV4_PROTOCOL)]!;
    const isTcp = protocol === IPPROTO_TCP;
    // Behind extension headers there may be a packet of any flow, so that nothing may be written after it.
    if (isIpv6 && !isTcp && protocol !== IPPROTO_UDP) this.flush();
    const headerBytes = joinableHeaderBytes(memory, offset, length);
    const isWanted = headerBytes > 0 && (isTcp ? this.joinsTcp : this.joinsUdp);
    const at = this.#find(offset, isIpv6, protocol);
    if (at >= 0) {
      const flow = this.#order[at]!;
      if (isWanted && this.#continues(flow, offset, length, headerBytes)) {
        this.#append(flow, offset, length);
        if (this.#isEnd(flow, offset, length)) this.#close(at);
        return;
      }
      this.#close(at);
    }
    if (!isWanted) {
      this.#writeSingle(offset, length);
      return;
    }
    if (this.#openCount === MOST_FLOWS) this.#close(0);
    const flow = this.#order[this.#openCount++]!;
    this.#ipHeaderBytes[flow] = ipHeaderBytes;
    this.#source[flow] = view.getInt32(offset + (isIpv6 ? IPV6_SOURCE + 12 : IPV4_SOURCE));
    this.#destination[flow] = view.getInt32(offset + (isIpv6 ? IPV6_DESTINATION + 12 : IPV4_DESTINATION));
    this.#ports[flow] = view.getInt32(offset + ipHeaderBytes);
    this.#protocol[flow] = protocol;
    this.#first[flow] = offset;
    this.#headerBytes[flow] = headerBytes;
    this.#segmentBytes[flow] = length - headerBytes;
    this.#totalBytes[flow] = length;
    this.#packets[flow] = 1;
    const piece = flow * PIECES_PER_FLOW + 1;
    this.pieceOffset[piece] = offset;
    this.pieceBytes[piece] = length;
    if (isTcp) {
      const transport = offset + ipHeaderBytes;
      this.#nextSequence[flow] = (view.getInt32(transport + TCP_SEQUENCE) + length - headerBytes) | 0;
    }
    if (this.#isEnd(flow, offset, length)) this.#close(this.#openCount - 1);
  }

  /** Writes everything that is still open. */
  flush(): void {
    while (this.#openCount > 0) this.#close(this.#openCount - 1);
  }

  /** The place in #order of the packet's flow, or -1. For protocols without ports the bytes at their offset are compared. */
  #find(offset: number, isIpv6: boolean, protocol: number): number {
    if (this.#openCount === 0) return -1;
    const { view } = this.#memory;
    const ipHeaderBytes = isIpv6 ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES;
    const source = view.getInt32(offset + (isIpv6 ? IPV6_SOURCE + 12 : IPV4_SOURCE));
    const destination = view.getInt32(offset + (isIpv6 ? IPV6_DESTINATION + 12 : IPV4_DESTINATION));
    const ports = view.getInt32(offset + ipHeaderBytes);
    for (let at = this.#openCount - 1; at >= 0; at--) {
      const flow = this.#order[at]!;
      if (
        this.#ports[flow] === ports &&
        this.#source[flow] === source &&
        this.#destination[flow] === destination &&
        this.#protocol[flow] === protocol &&
        this.#ipHeaderBytes[flow] === ipHeaderBytes &&
        (!isIpv6 || haveSamePrefixes(this.#memory, this.#first[flow]!, offset))
      )
        return at;
    }
    return -1;
  }

  #continues(flow: number, offset: number, length: number, headerBytes: number): boolean {
    const { view } = this.#memory;
    const first = this.#first[flow]!;
    const packets = this.#packets[flow]!;
    const payloadBytes = length - headerBytes;
    const ipHeaderBytes = this.#ipHeaderBytes[flow]!;
    const transport = offset + ipHeaderBytes;
    return (
      headerBytes === this.#headerBytes[flow] &&
      payloadBytes <= this.#segmentBytes[flow]! &&
      packets < MOST_PACKETS &&
      this.#totalBytes[flow]! + payloadBytes <= MOST_BYTES &&
      (ipHeaderBytes === IPV6_HEADER_BYTES ||
        view.getUint16(offset + IPV4_ID) === ((view.getUint16(first + IPV4_ID) + packets) & 0xffff)) &&
      (this.#protocol[flow] !== IPPROTO_TCP ||
        view.getInt32(transport + TCP_SEQUENCE) === this.#nextSequence[flow]) &&
      continuesHeaders(this.#memory, first, offset, headerBytes)
    );
  }

  #append(flow: number, offset: number, length: number): void {
    const headerBytes = this.#headerBytes[flow]!;
    const payloadBytes = length - headerBytes;
    const packets = this.#packets[flow]! + 1;
    const piece = flow * PIECES_PER_FLOW + packets;
    this.pieceOffset[piece] = offset + headerBytes;
    this.pieceBytes[piece] = payloadBytes;
    this.#packets[flow] = packets;
    this.#totalBytes[flow] = this.#totalBytes[flow]! + payloadBytes;
    this.#nextSequence[flow] = (this.#nextSequence[flow]! + payloadBytes) | 0;
    if (this.#protocol[flow] === IPPROTO_TCP) {
      const { bytes } = this.#memory;
      const place = this.#ipHeaderBytes[flow]! + TCP_FLAGS;
      const last = bytes[offset + place]! & (TCP_PSH | TCP_FIN);
      const flags = this.#first[flow]! + place;
      bytes[flags] = bytes[flags]! | last;
    }
  }

  /** Whether no packet can follow this one: it is shorter than the others, or has a flag that only the last segment has. */
  #isEnd(flow: number, offset: number, length: number): boolean {
    if (length - this.#headerBytes[flow]! < this.#segmentBytes[flow]!) return true;
    if (this.#protocol[flow] !== IPPROTO_TCP) return false;
    return (this.#memory.bytes[offset + this.#ipHeaderBytes[flow]! + TCP_FLAGS]! & (TCP_PSH | TCP_FIN)) !== 0;
  }

  /** Writes the flow at this place of #order and removes it. */
  #close(at: number): void {
    const flow = this.#order[at]!;
    this.#order[at] = this.#order[--this.#openCount]!;
    this.#order[this.#openCount] = flow;
    const packets = this.#packets[flow]!;
    if (packets === 1) {
      this.#writeSingle(this.#first[flow]!, this.#totalBytes[flow]!);
      return;
    }
    this.#writeHeaders(flow);
    this.#write(this, flow * PIECES_PER_FLOW, packets + 1);
  }

  #writeSingle(offset: number, length: number): void {
    this.pieceOffset[SINGLE + 1] = offset;
    this.pieceBytes[SINGLE + 1] = length;
    this.#write(this, SINGLE, 2);
  }

  /** Turns the first packet's headers into those of the super-packet, and fills in its virtio header. */
  #writeHeaders(flow: number): void {
    const memory = this.#memory;
    const { view } = memory;
    const first = this.#first[flow]!;
    const ipHeaderBytes = this.#ipHeaderBytes[flow]!;
    const isIpv6 = ipHeaderBytes === IPV6_HEADER_BYTES;
    const transport = first + ipHeaderBytes;
    const isTcp = this.#protocol[flow] === IPPROTO_TCP;
    const totalBytes = this.#totalBytes[flow]!;
    const transportBytes = totalBytes - ipHeaderBytes;
    if (isIpv6) view.setUint16(first + IPV6_PAYLOAD_LENGTH, transportBytes);
    else {
      view.setUint16(first + IPV4_TOTAL_LENGTH, totalBytes);
      view.setUint16(first + IPV4_CHECKSUM, 0);
      view.setUint16(first + IPV4_CHECKSUM, ~sumOfPlainHeader(view, first) & 0xffff);
    }
    if (!isTcp) view.setUint16(transport + UDP_LENGTH, transportBytes);
    // Where the kernel is to complete a checksum, the field holds the sum of the pseudo-header.
    const checksumOffset = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
    const sum = pseudoHeaderSum(memory, first, this.#protocol[flow]!, transportBytes);
    view.setUint16(transport + checksumOffset, foldSum(sum));

    const virtio = this.pieceOffset[flow * PIECES_PER_FLOW]!;
    view.setUint8(virtio + VNET_FLAGS, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    const tcpType = isIpv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
    view.setUint8(virtio + VNET_GSO_TYPE, isTcp ? tcpType : VIRTIO_NET_HDR_GSO_UDP_L4);
    view.setUint16(virtio + VNET_HEADER_LENGTH, this.#headerBytes[flow]!, true);
    view.setUint16(virtio + VNET_GSO_SIZE, this.#segmentBytes[flow]!, true);
    view.setUint16(virtio + VNET_CSUM_START, ipHeaderBytes, true);
    view.setUint16(virtio + VNET_CSUM_OFFSET, checksumOffset, true);
  }
}
