/**
 * The data path's port to the kernel, in memory: a TUN device and a socket as lists. It refuses what the kernel refuses
 * and throws where the data path passes invalid data.
 */

import { MOST_RECEIVED, type PacketIo, type ReceivedBatch } from "../datapath/packet-io.ts";
import type { PieceList } from "../packet/coalescing.ts";
import { createPacketMemory } from "../packet/packet-memory.ts";
import type { SendQueue } from "../packet/send-queue.ts";
import { decodeVirtio, NO_OFFLOAD, type Virtio } from "./slow-ip.ts";

const EAGAIN = 11;
const EINVAL = 22;
const EMSGSIZE = 90;

export interface Datagram {
  readonly peer: number;
  readonly bytes: Uint8Array;
}

export interface TunPacket {
  readonly virtio: Virtio;
  readonly bytes: Uint8Array;
}

/** What the kernel would pass to the socket as one: datagrams of one size from one sender, the last perhaps shorter. */
export interface Arrival {
  readonly sender: number;
  readonly datagramBytes: number;
  readonly bytes: Uint8Array;
}

export interface FakePacketIoOptions {
  readonly offloads?: boolean;
  /** Of outgoing datagrams, with IP and UDP header. */
  readonly pathMtuBytes?: number;
}

export class FakePacketIo implements PacketIo {
  readonly memory = createPacketMemory(2 * 1024 * 1024);
  readonly hasVirtioHeader: boolean;
  readonly joinsTcp: boolean;
  readonly joinsUdp: boolean;
  readonly mostDatagrams: number;
  /** To be read, virtio header first where there are any. */
  readonly tunReads: Uint8Array[] = [];
  readonly arrivals: Arrival[] = [];
  readonly sent: Datagram[] = [];
  readonly fragmented: Datagram[] = [];
  readonly written: TunPacket[] = [];
  /** Messages of the data path itself to this side. */
  readonly own: Uint8Array[] = [];
  sendCalls = 0;
  messages = 0;
  /** -errno that every send and write answers. */
  sendFailure = 0;
  writeFailure = 0;
  /** -errno that every message of several datagrams answers. */
  segmentationFailure = 0;
  timeMs = 0;
  readonly #pathMtuBytes: number;
  readonly #receiveOffset: number;

  constructor({ offloads = true, pathMtuBytes = 1500 }: FakePacketIoOptions = {}) {
    this.hasVirtioHeader = offloads;
    this.joinsTcp = offloads;
    this.joinsUdp = offloads;
    this.mostDatagrams = offloads ? 64 : 1;
    this.#pathMtuBytes = pathMtuBytes;
    this.#receiveOffset = this.memory.reserve(MOST_RECEIVED * 65536);
  }

  wait(): number {
    return 0;
  }

  readTun(offset: number, capacity: number): number {
    const packet = this.tunReads.shift();
    if (packet === undefined) return -EAGAIN;
    const bytes = packet.subarray(0, capacity);
    this.memory.bytes.set(bytes, offset);
    return bytes.length;
  }

  writeTun(list: PieceList, first: number, count: number): number {
    if (this.writeFailure < 0) return this.writeFailure;
    const whole = this.#gather(list, first, count);
    const packet = this.hasVirtioHeader
      ? { virtio: decodeVirtio(whole.subarray(0, 10)), bytes: whole.slice(10) }
      : { virtio: NO_OFFLOAD, bytes: whole };
    checkVirtio(packet);
    this.written.push(packet);
    return whole.length;
  }

  receive(batch: ReceivedBatch): number {
    const arrivals = this.arrivals.splice(0, MOST_RECEIVED);
    batch.count = arrivals.length;
    for (const [index, { sender, datagramBytes, bytes }] of arrivals.entries()) {
      const offset = this.#receiveOffset + index * 65536;
      this.memory.bytes.set(bytes, offset);
      batch.offset[index] = offset;
      batch.bytes[index] = bytes.length;
      batch.datagramBytes[index] = datagramBytes;
      batch.source[index] = sender;
    }
    return arrivals.length === 0 ? -EAGAIN : arrivals.length;
  }

  send(queue: SendQueue, first: number): number {
    this.sendCalls++;
    if (this.sendFailure < 0) return this.sendFailure;
    for (let message = first; message < queue.messages; message++) {
      const failure = this.#sendMessage(queue, message, this.sent);
      if (failure < 0) return message === first ? failure : message - first;
    }
    return queue.messages - first;
  }

  sendFragmented(queue: SendQueue, first: number): number {
    const before = this.fragmented.length;
    for (const datagram of this.#datagramsOf(queue, first)) this.fragmented.push(datagram);
    return this.fragmented.length - before;
  }

  sendOwn(offset: number, length: number): number {
    this.own.push(this.memory.bytes.slice(offset, offset + length));
    return length;
  }

  pathMtuBytes(): number {
    return this.#pathMtuBytes;
  }

  nowMs(): number {
    return this.timeMs;
  }

  #sendMessage(queue: SendQueue, message: number, sent: Datagram[]): number {
    const size = queue.datagramBytes[message]!;
    const count = queue.datagrams[message]!;
    if (count > 1 && this.segmentationFailure < 0) return this.segmentationFailure;
    if (count > 64 || (count > 1 && !this.hasVirtioHeader)) return -EINVAL;
    if (size + 28 > this.#pathMtuBytes || queue.messageBytes[message]! > 65507) return -EMSGSIZE;
    this.messages++;
    sent.push(...this.#datagramsOf(queue, message));
    return 1;
  }

  #datagramsOf(queue: SendQueue, message: number): Datagram[] {
    const firstPiece = queue.firstPiece[message]!;
    const bytes = this.#gather(queue, firstPiece, queue.firstPiece[message + 1]! - firstPiece);
    const size = queue.datagramBytes[message]!;
    const peer = queue.destination[message]!;
    const datagrams: Datagram[] = [];
    for (let start = 0; start < bytes.length; start += size)
      datagrams.push({ peer, bytes: bytes.slice(start, start + size) });
    if (datagrams.length !== queue.datagrams[message])
      throw new Error(`${queue.datagrams[message]} datagrams announced, ${datagrams.length} there`);
    return datagrams;
  }

  #gather({ pieceOffset, pieceBytes }: PieceList, first: number, count: number): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let piece = first; piece < first + count; piece++) {
      const offset = pieceOffset[piece]!;
      parts.push(this.memory.bytes.subarray(offset, offset + pieceBytes[piece]!));
    }
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}

/** include/linux/virtio_net.h, virtio_net_hdr_to_skb: what the kernel requires of a packet that it segments. */
function checkVirtio({ virtio, bytes }: TunPacket): void {
  if (virtio.type === "none") return;
  const isTcp = virtio.type === "tcp";
  const fail = (what: string): never => {
    throw new Error(`the kernel would refuse: ${what}`);
  };
  if (bytes[9] !== (isTcp ? 6 : 17)) fail("another protocol");
  if (!virtio.needsChecksum) fail("no checksum to complete");
  if (virtio.checksumStart !== 20 || virtio.checksumOffset !== (isTcp ? 16 : 6)) fail("checksum place");
  if (virtio.segmentBytes === 0 || bytes.length > 65535) fail("sizes");
}
