/**
 * From the TUN device to the peers: packets are read until none is left or a batch is full, super-packets are split, each
 * packet is encrypted into its datagram, and datagrams of one peer are sent together.
 */

import { completeChecksum } from "../../packet/checksum-offload.ts";
import { checkIpv4, IPV4_DESTINATION, IPV4_OK } from "../../packet/ipv4.ts";
import { IPV6_DESTINATION, IPV6_HEADER_BYTES } from "../../packet/ipv6.ts";
import type { PacketMemory } from "../../packet/packet-memory.ts";
import {
  beginSegmentation,
  createSegmentation,
  payloadBytesOf,
  writeSegmentHeaders,
} from "../../packet/segmentation.ts";
import {
  addDatagram,
  addPiece,
  clearQueue,
  createSendQueue,
  hasRoom,
  isSplitRefused,
  sendApart,
} from "../../packet/send-queue.ts";
import {
  VIRTIO_NET_HDR_GSO_NONE,
  VNET_GSO_SIZE,
  VNET_GSO_TYPE,
  VNET_HEADER_BYTES,
} from "../../packet/virtio-net-header.ts";
import type { WireguardDevice } from "../protocol/device.ts";
import { COUNTER, RECEIVER, TRANSPORT_HEADER_BYTES, TYPE_TRANSPORT } from "../protocol/messages.ts";
import type { Peer } from "../protocol/peer.ts";
import { TAG_BYTES } from "../protocol/primitives.ts";
import type { AllowedIps } from "./allowed-ips.ts";
import type { WireguardIo } from "./wireguard-io.ts";

const MOST_PACKET_BYTES = 0xffff + VNET_HEADER_BYTES;
/** Room for datagrams before they are sent. */
const OUT_BYTES = 512 * 1024;
/** Packets read before the other direction is served. */
const MOST_READS = 128;
const MOST_MESSAGES = 64;
const MOST_PIECES = 512;
/** Packets are padded to a multiple of this. */
const PADDING_BYTES = 16;
/** Most that fits into a datagram over IPv4 with its overhead. */
const MOST_INNER_BYTES = 65_400;

export interface OutgoingParts {
  readonly io: WireguardIo;
  readonly device: () => WireguardDevice;
  readonly allowedIps: AllowedIps;
  /** The peer with a slot. */
  readonly peers: readonly (Peer | undefined)[];
}

export class Outgoing {
  /** The device's MTU: padding does not exceed it. */
  mtuBytes = 1420;
  readonly #parts: OutgoingParts;
  readonly #memory: PacketMemory;
  readonly #queue = createSendQueue(MOST_MESSAGES, MOST_PIECES);
  /** For datagrams that are sent one by one. */
  readonly #single = createSendQueue(1, 2);
  readonly #segmentation = createSegmentation();
  readonly #readOffset: number;
  readonly #stagedOffset: number;
  readonly #outOffset: number;
  #outPosition: number;

  constructor(parts: OutgoingParts) {
    this.#parts = parts;
    const { memory, mostDatagrams } = parts.io;
    this.#memory = memory;
    this.#queue.mostDatagrams = mostDatagrams;
    this.#readOffset = memory.reserve(MOST_PACKET_BYTES + 32);
    this.#stagedOffset = memory.reserve(MOST_PACKET_BYTES + 32);
    this.#outOffset = memory.reserve(OUT_BYTES);
    this.#outPosition = this.#outOffset;
  }

  /** Moves what waits on the TUN device, up to a limit. 0, or the -errno for which reading ended. */
  turn(): number {
    const { io } = this.#parts;
    const headerBytes = io.hasVirtioHeader ? VNET_HEADER_BYTES : 0;
    // The IP header at a multiple of 16.
    const offset = this.#readOffset + 16 - headerBytes;
    for (let reads = 0; reads < MOST_READS; reads++) {
      const length = io.readTun(offset, MOST_PACKET_BYTES);
      if (length < 0) return length;
      this.#take(offset + headerBytes, length - headerBytes, headerBytes > 0);
    }
    return 0;
  }

  /** Encrypts the packets of a peer that waited for a session; an empty one if none did. */
  sendStaged(peer: Peer): void {
    if (peer.staged.length === 0) {
      this.#emit(peer, this.#stagedOffset, 0);
      return;
    }
    for (const packet of peer.staged.splice(0)) {
      this.#memory.bytes.set(packet, this.#stagedOffset);
      this.#emit(peer, this.#stagedOffset, packet.length);
    }
  }

  flush(): void {
    const { io } = this.#parts;
    const queue = this.#queue;
    for (let first = 0; first < queue.messages; ) {
      const sent = io.send(queue, first);
      if (sent > 0) first += sent;
      else this.#handleRefusal(first++, -sent);
    }
    clearQueue(queue);
    this.#outPosition = this.#outOffset;
  }

  #take(offset: number, length: number, hasVirtioHeader: boolean): void {
    const { bytes } = this.#memory;
    const version = length > 0 ? bytes[offset]! >> 4 : 0;
    const { allowedIps, peers } = this.#parts;
    let slot = -1;
    if (version === 4 && checkIpv4(this.#memory, offset, length) === IPV4_OK)
      slot = allowedIps.lookUp4(this.#memory, offset + IPV4_DESTINATION);
    else if (version === 6 && length >= IPV6_HEADER_BYTES)
      slot = allowedIps.lookUp6(this.#memory, offset + IPV6_DESTINATION);
    const peer = slot < 0 ? undefined : peers[slot];
    if (peer === undefined || length > MOST_PACKET_BYTES) return;
    const virtio = offset - VNET_HEADER_BYTES;
    if (hasVirtioHeader && bytes[virtio + VNET_GSO_TYPE] !== VIRTIO_NET_HDR_GSO_NONE) {
      this.#split(peer, offset, length, virtio);
      return;
    }
    if (hasVirtioHeader && !completeChecksum(this.#memory, offset, length, virtio)) return;
    this.#emit(peer, offset, length);
  }

  #split(peer: Peer, offset: number, length: number, virtio: number): void {
    const memory = this.#memory;
    const segmentation = this.#segmentation;
    const gsoType = memory.bytes[virtio + VNET_GSO_TYPE]!;
    const gsoSize = memory.view.getUint16(virtio + VNET_GSO_SIZE, true);
    if (!beginSegmentation(segmentation, memory, offset, length, gsoType, gsoSize)) return;
    const { headerBytes, count, segmentBytes } = segmentation;
    const wholeBytes = headerBytes + segmentBytes;
    // A header is written in front of its payload, over the end of the segment before, which is encrypted by then: nothing
    // is copied. Padding would overwrite what follows.
    const isInPlace =
      segmentBytes % 4 === 0 && segmentBytes >= headerBytes && this.#paddedBytes(wholeBytes) === wholeBytes;
    for (let index = 0; index < count; index++) {
      const payload = offset + headerBytes + index * segmentBytes;
      const payloadBytes = payloadBytesOf(segmentation, index);
      const start = isInPlace ? payload - headerBytes : this.#stagedOffset;
      writeSegmentHeaders(segmentation, memory, index, start);
      if (!isInPlace) memory.bytes.copyWithin(start + headerBytes, payload, payload + payloadBytes);
      this.#emit(peer, start, headerBytes + payloadBytes);
    }
  }

  /** To a multiple of 16, but not beyond the device's MTU. */
  #paddedBytes(length: number): number {
    const padded = (length + PADDING_BYTES - 1) & -PADDING_BYTES;
    return Math.max(length, Math.min(this.mtuBytes, padded));
  }

  /** Encrypts a packet, behind which there is room for padding; without a session, keeps a copy until there is one. */
  #emit(peer: Peer, offset: number, length: number): void {
    const device = this.#parts.device();
    const { bytes, words } = this.#memory;
    const session = device.sessionFor(peer);
    if (session === undefined || !peer.hasEndpoint) {
      if (length > 0) device.stage(peer, bytes.slice(offset, offset + length));
      device.initiate(peer);
      return;
    }
    if (length > MOST_INNER_BYTES) return;
    const padded = this.#paddedBytes(length);
    const datagramBytes = TRANSPORT_HEADER_BYTES + padded + TAG_BYTES;
    if (!hasRoom(this.#queue) || this.#outPosition + datagramBytes > this.#outOffset + OUT_BYTES)
      this.flush();
    // Words are little-endian, as in the message.
    const at = this.#outPosition;
    this.#outPosition += (datagramBytes + 3) & ~3;
    const counter = session.nextCounter++;
    words[at >> 2] = TYPE_TRANSPORT;
    words[(at + RECEIVER) >> 2] = session.remoteIndex;
    words[(at + COUNTER) >> 2] = counter;
    words[(at + COUNTER + 4) >> 2] = counter / 2 ** 32;
    for (let pad = offset + length; pad < offset + padded; pad++) bytes[pad] = 0;
    session.sending.seal(counter, offset, at + TRANSPORT_HEADER_BYTES, padded);
    addDatagram(this.#queue, peer.slot, datagramBytes);
    addPiece(this.#queue, at, datagramBytes);
    device.noteSentData(session, datagramBytes, length > 0);
  }

  /** A message that the kernel did not split is sent again datagram by datagram, and later ones are not joined. */
  #handleRefusal(message: number, errno: number): void {
    const queue = this.#queue;
    if (!isSplitRefused(queue, message, errno)) return;
    const { io } = this.#parts;
    const sent = sendApart(queue, message, this.#single, (single) => io.send(single, 0) > 0);
    if (sent === queue.datagrams[message]) queue.mostDatagrams = 1;
  }
}
