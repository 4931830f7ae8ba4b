/**
 * A userspace WireGuard device's port to the kernel: one readv or writev per packet of the TUN device, one sendmmsg or recvmmsg
 * per batch of datagrams, on structs at fixed places of the packet memory: nothing is allocated per call.
 */

import type { PieceList } from "../packet/coalescing.ts";
import { createPacketMemory, type PacketMemory } from "../packet/packet-memory.ts";
import type { SendQueue } from "../packet/send-queue.ts";
import type { WireguardDescriptors } from "../wireguard/datapath/orders.ts";
import {
  type DatagramBatch,
  IPV4_READY,
  IPV6_READY,
  TUN_READY,
  type WireguardIo,
  WOKEN,
} from "../wireguard/datapath/wireguard-io.ts";
import { AF_INET, AF_INET6, SOCKADDR_BYTES } from "../wireguard/socket-address.ts";
import { lastErrno, sys } from "./ffi.ts";
import {
  MessageStructs,
  MMSGHDR_BYTES,
  MSG_DONTWAIT,
  MSG_LEN,
  MSG_NAME,
  MSG_NAMELEN,
} from "./message-structs.ts";

/** For packets in both directions, the structs, and the endpoints. Pages are only used once they are written. */
const MEMORY_BYTES = 3 * 1024 * 1024;
const MOST_PEERS = 16_384;
/** Of an endpoint in the table: a struct sockaddr_in6 and padding. */
const ENDPOINT_BYTES = 32;
const SOCKADDR_IN_BYTES = 16;

/** The bit of each descriptor in the array. */
const READY = [TUN_READY, IPV4_READY, IPV6_READY, WOKEN] as const;

const ENETUNREACH = 101;

const MOST_RECEIVED = 8;
const MOST_MESSAGES = 64;
const MOST_PIECES = 512;

export class WireguardBatchIo implements WireguardIo {
  readonly memory: PacketMemory = createPacketMemory(MEMORY_BYTES);
  readonly mostPeers = MOST_PEERS;
  readonly hasVirtioHeader: boolean;
  readonly joinsTcp: boolean;
  readonly joinsUdp: boolean;
  readonly mostDatagrams: number;
  readonly #descriptors: WireguardDescriptors;
  readonly #wakeCount = new Uint8Array(8);
  readonly #structs: MessageStructs;
  readonly #base: number;
  readonly #polls: number;
  readonly #tunPieces: number;
  readonly #sendMessages: number;
  readonly #sendPieces: number;
  readonly #receiveMessages: number;
  readonly #endpoints: number;
  /** Of each message: the family of its destination. */
  readonly #families = new Uint8Array(MOST_MESSAGES);

  constructor(descriptors: WireguardDescriptors) {
    this.#descriptors = descriptors;
    this.hasVirtioHeader = descriptors.hasVirtioHeader;
    this.joinsTcp = descriptors.joinsTcp;
    this.joinsUdp = descriptors.joinsUdp;
    this.mostDatagrams = descriptors.segments ? 64 : 1;
    const { memory } = this;
    const structs = new MessageStructs(memory);
    this.#structs = structs;
    this.#base = structs.base;
    const { tunFd, ipv4Fd, ipv6Fd, wakeFd } = descriptors;
    this.#polls = structs.reservePolls([tunFd, ipv4Fd, ipv6Fd, wakeFd]);
    this.#tunPieces = structs.reservePieces(MOST_PIECES);
    this.#sendPieces = structs.reservePieces(MOST_PIECES);
    this.#endpoints = memory.reserve(MOST_PEERS * ENDPOINT_BYTES);
    this.#sendMessages = structs.reserveMessages(MOST_MESSAGES);
    this.#receiveMessages = structs.reserveReceiveMessages(MOST_RECEIVED, ENDPOINT_BYTES);
  }

  wait(timeoutMs: number): number {
    if (sys.poll(this.#base + this.#polls, READY.length, timeoutMs) <= 0) return 0;
    let ready = 0;
    for (let index = 0; index < READY.length; index++)
      if (this.#structs.isReady(this.#polls, index)) ready |= READY[index]!;
    if ((ready & WOKEN) !== 0) sys.read(this.#descriptors.wakeFd, this.#wakeCount, this.#wakeCount.length);
    return ready;
  }

  pause(ms: number): void {
    sys.poll(0, 0, ms);
  }

  readTun(offset: number, capacity: number): number {
    this.#structs.setPiece(this.#tunPieces, 0, offset, capacity);
    const result = sys.readv(this.#descriptors.tunFd, this.#base + this.#tunPieces, 1);
    return result < 0 ? -lastErrno() : result;
  }

  writeTun(list: PieceList, first: number, count: number): number {
    this.#structs.setPieces(this.#tunPieces, list, first, count);
    const result = sys.writev(this.#descriptors.tunFd, this.#base + this.#tunPieces, count);
    return result < 0 ? -lastErrno() : result;
  }

  receive(ready: number, batch: DatagramBatch): number {
    const { view } = this.memory;
    const structs = this.#structs;
    structs.renewReceiveMessages(this.#receiveMessages, MOST_RECEIVED, SOCKADDR_BYTES);
    const fd = ready === IPV4_READY ? this.#descriptors.ipv4Fd : this.#descriptors.ipv6Fd;
    const result = sys.recvmmsg(fd, this.#base + this.#receiveMessages, MOST_RECEIVED, MSG_DONTWAIT, 0);
    batch.count = Math.max(0, result);
    for (let message = 0; message < result; message++) {
      const header = this.#receiveMessages + message * MMSGHDR_BYTES;
      const bytes = view.getInt32(header + MSG_LEN, true);
      const source = structs.offsetAt(header + MSG_NAME);
      batch.bytes[message] = bytes;
      batch.offset[message] = structs.receivedAt(header);
      batch.datagramBytes[message] = structs.joinedSize(header) || bytes;
      batch.source[message] = source;
      // The kernel fills what belongs to the family; flow labels are no part of an endpoint.
      if (view.getUint16(source, true) === AF_INET)
        this.memory.bytes.fill(0, source + 8, source + SOCKADDR_BYTES);
      else view.setUint32(source + 4, 0);
    }
    return result < 0 ? -lastErrno() : result;
  }

  send(queue: SendQueue, first: number): number {
    this.#fillMessages(queue, first);
    const family = this.#families[first]!;
    let end = first + 1;
    while (end < queue.messages && this.#families[end] === family) end++;
    const fd = this.#socketOf(family);
    if (fd < 0) return -ENETUNREACH;
    const address = this.#base + this.#sendMessages + first * MMSGHDR_BYTES;
    const result = sys.sendmmsg(fd, address, end - first, 0);
    return result < 0 ? -lastErrno() : result;
  }

  sendTo(address: number, message: Uint8Array): void {
    const { bytes, view } = this.memory;
    const family = view.getUint16(address, true);
    const fd = this.#socketOf(family);
    const length = family === AF_INET ? SOCKADDR_IN_BYTES : SOCKADDR_BYTES;
    if (fd < 0) return;
    // What is not sent is sent again by the protocol's timers.
    sys.sendto(fd, message, message.length, MSG_DONTWAIT, bytes.slice(address, address + length), length);
  }

  endpointOf(slot: number): number {
    return this.#endpoints + slot * ENDPOINT_BYTES;
  }

  nowMs(): number {
    return performance.now();
  }

  wallClockMs(): number {
    return Date.now();
  }

  #socketOf(family: number): number {
    const { ipv4Fd, ipv6Fd } = this.#descriptors;
    if (family === AF_INET) return ipv4Fd;
    return family === AF_INET6 ? ipv6Fd : -1;
  }

  #fillMessages(queue: SendQueue, first: number): void {
    const structs = this.#structs;
    const { view, words } = this.memory;
    for (let piece = queue.firstPiece[first]!; piece < queue.pieces; piece++)
      structs.setPiece(this.#sendPieces, piece, queue.pieceOffset[piece]!, queue.pieceBytes[piece]!);
    for (let message = first; message < queue.messages; message++) {
      const header = this.#sendMessages + message * MMSGHDR_BYTES;
      const endpoint = this.endpointOf(queue.destination[message]!);
      const family = view.getUint16(endpoint, true);
      this.#families[message] = family;
      structs.setPointer(header + MSG_NAME, endpoint);
      words[(header + MSG_NAMELEN) >> 2] = family === AF_INET ? SOCKADDR_IN_BYTES : SOCKADDR_BYTES;
      structs.setMessage(header, this.#sendPieces, queue, message);
    }
  }
}
