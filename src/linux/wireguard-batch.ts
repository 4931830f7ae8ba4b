/**
 * A userspace WireGuard device's port to the kernel: one readv or writev per packet of the TUN device, one sendmmsg or recvmmsg
 * per batch of datagrams. All structs are at fixed places of the packet memory, in the layout of 64-bit Linux: nothing is
 * allocated per call.
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
import { addressOf, lastErrno, sys } from "./ffi.ts";
import { SOL_UDP, UDP_GRO, UDP_SEGMENT } from "./udp-socket.ts";

/** For packets in both directions, the structs, and the endpoints. Pages are only used once they are written. */
const MEMORY_BYTES = 3 * 1024 * 1024;
const MOST_PEERS = 16_384;
/** Of an endpoint in the table: a struct sockaddr_in6 and padding. */
const ENDPOINT_BYTES = 32;
const SOCKADDR_IN_BYTES = 16;

// poll.h
const POLLIN = 1;
const POLLFD_BYTES = 8;
/** The bit of each descriptor in the array. */
const READY = [TUN_READY, IPV4_READY, IPV6_READY, WOKEN] as const;

// bits/types/struct_iovec.h, bits/socket.h
const IOVEC_BYTES = 16;
const MMSGHDR_BYTES = 64;
const MSG_NAME = 0;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_LEN = 56;
const MSG_DONTWAIT = 0x40;
/** struct cmsghdr with an int: its length is 20, its space 24 (CMSG_SPACE). */
const CMSG_BYTES = 24;
const CMSG_DATA = 16;
const CMSG_LEN_U16 = 18;
const CMSG_LEN_INT = 20;
const ENETUNREACH = 101;

const RECEIVE_BYTES = 64 * 1024;
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
  readonly #base: number;
  readonly #baseLow: number;
  readonly #baseHigh: number;
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
    this.#base = addressOf(memory.bytes);
    this.#baseLow = this.#base % 2 ** 32;
    this.#baseHigh = Math.floor(this.#base / 2 ** 32);
    const { tunFd, ipv4Fd, ipv6Fd, wakeFd } = descriptors;
    this.#polls = memory.reserve(READY.length * POLLFD_BYTES);
    // poll(2) ignores negative descriptors.
    for (const [index, fd] of [tunFd, ipv4Fd, ipv6Fd, wakeFd].entries()) {
      memory.view.setInt32(this.#polls + index * POLLFD_BYTES, fd, true);
      memory.view.setInt16(this.#polls + index * POLLFD_BYTES + 4, POLLIN, true);
    }
    this.#tunPieces = memory.reserve(MOST_PIECES * IOVEC_BYTES);
    this.#sendPieces = memory.reserve(MOST_PIECES * IOVEC_BYTES);
    this.#endpoints = memory.reserve(MOST_PEERS * ENDPOINT_BYTES);
    this.#sendMessages = this.#layOutMessages(MOST_MESSAGES);
    this.#receiveMessages = this.#layOutMessages(MOST_RECEIVED);
    const pieces = memory.reserve(MOST_RECEIVED * IOVEC_BYTES);
    for (let message = 0; message < MOST_RECEIVED; message++) {
      const piece = pieces + message * IOVEC_BYTES;
      const header = this.#receiveMessages + message * MMSGHDR_BYTES;
      this.#setPiece(piece, memory.reserve(RECEIVE_BYTES), RECEIVE_BYTES);
      this.#setPointer(header + MSG_IOV, piece);
      memory.view.setInt32(header + MSG_IOVLEN, 1, true);
      this.#setPointer(header + MSG_NAME, memory.reserve(ENDPOINT_BYTES));
    }
  }

  wait(timeoutMs: number): number {
    if (sys.poll(this.#base + this.#polls, READY.length, timeoutMs) <= 0) return 0;
    let ready = 0;
    for (let index = 0; index < READY.length; index++) {
      if (this.memory.view.getInt16(this.#polls + index * POLLFD_BYTES + 6, true) !== 0)
        ready |= READY[index]!;
    }
    if ((ready & WOKEN) !== 0) sys.read(this.#descriptors.wakeFd, this.#wakeCount, this.#wakeCount.length);
    return ready;
  }

  pause(ms: number): void {
    sys.poll(0, 0, ms);
  }

  readTun(offset: number, capacity: number): number {
    this.#setPiece(this.#tunPieces, offset, capacity);
    const result = sys.readv(this.#descriptors.tunFd, this.#base + this.#tunPieces, 1);
    return result < 0 ? -lastErrno() : result;
  }

  writeTun(list: PieceList, first: number, count: number): number {
    let piece = this.#tunPieces;
    for (let index = first; index < first + count; index++) {
      this.#setPiece(piece, list.pieceOffset[index]!, list.pieceBytes[index]!);
      piece += IOVEC_BYTES;
    }
    const result = sys.writev(this.#descriptors.tunFd, this.#base + this.#tunPieces, count);
    return result < 0 ? -lastErrno() : result;
  }

  receive(ready: number, batch: DatagramBatch): number {
    const { view } = this.memory;
    for (let message = 0; message < MOST_RECEIVED; message++) {
      const header = this.#receiveMessages + message * MMSGHDR_BYTES;
      view.setInt32(header + MSG_NAMELEN, SOCKADDR_BYTES, true);
      view.setInt32(header + MSG_CONTROLLEN, CMSG_BYTES, true);
    }
    const fd = ready === IPV4_READY ? this.#descriptors.ipv4Fd : this.#descriptors.ipv6Fd;
    const result = sys.recvmmsg(fd, this.#base + this.#receiveMessages, MOST_RECEIVED, MSG_DONTWAIT, 0);
    batch.count = Math.max(0, result);
    for (let message = 0; message < result; message++) {
      const header = this.#receiveMessages + message * MMSGHDR_BYTES;
      const bytes = view.getInt32(header + MSG_LEN, true);
      const source = this.#offsetAt(header + MSG_NAME);
      batch.bytes[message] = bytes;
      batch.offset[message] = this.#offsetAt(this.#offsetAt(header + MSG_IOV));
      batch.datagramBytes[message] = this.#joinedSize(header) || bytes;
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
    const { view, words } = this.memory;
    for (let piece = queue.firstPiece[first]!; piece < queue.pieces; piece++)
      this.#setPiece(
        this.#sendPieces + piece * IOVEC_BYTES,
        queue.pieceOffset[piece]!,
        queue.pieceBytes[piece]!,
      );
    for (let message = first; message < queue.messages; message++) {
      const header = this.#sendMessages + message * MMSGHDR_BYTES;
      const piece = queue.firstPiece[message]!;
      const endpoint = this.endpointOf(queue.destination[message]!);
      const family = view.getUint16(endpoint, true);
      this.#families[message] = family;
      this.#setPointer(header + MSG_NAME, endpoint);
      words[(header + MSG_NAMELEN) >> 2] = family === AF_INET ? SOCKADDR_IN_BYTES : SOCKADDR_BYTES;
      this.#setPointer(header + MSG_IOV, this.#sendPieces + piece * IOVEC_BYTES);
      words[(header + MSG_IOVLEN) >> 2] = queue.firstPiece[message + 1]! - piece;
      const isMany = queue.datagrams[message]! > 1;
      words[(header + MSG_CONTROLLEN) >> 2] = isMany ? CMSG_BYTES : 0;
      if (isMany) {
        const control = this.#offsetAt(header + MSG_CONTROL);
        view.setUint16(control + CMSG_DATA, queue.datagramBytes[message]!, true);
      }
    }
  }

  /** Size of the datagrams that the kernel joined, from the control message; 0 if it did not. */
  #joinedSize(header: number): number {
    const { view } = this.memory;
    if (view.getInt32(header + MSG_CONTROLLEN, true) < CMSG_LEN_INT) return 0;
    const control = this.#offsetAt(header + MSG_CONTROL);
    const isGro =
      view.getInt32(control + 8, true) === SOL_UDP && view.getInt32(control + 12, true) === UDP_GRO;
    return isGro ? view.getInt32(control + CMSG_DATA, true) : 0;
  }

  /** An array of struct mmsghdr, each with a control message; without addresses and pieces. */
  #layOutMessages(count: number): number {
    const { memory } = this;
    const headers = memory.reserve(count * MMSGHDR_BYTES);
    const controls = memory.reserve(count * CMSG_BYTES);
    for (let message = 0; message < count; message++) {
      const control = controls + message * CMSG_BYTES;
      memory.view.setInt32(control, CMSG_LEN_U16, true);
      memory.view.setInt32(control + 8, SOL_UDP, true);
      memory.view.setInt32(control + 12, UDP_SEGMENT, true);
      this.#setPointer(headers + message * MMSGHDR_BYTES + MSG_CONTROL, control);
    }
    return headers;
  }

  #setPiece(at: number, offset: number, bytes: number): void {
    this.#setPointer(at, offset);
    this.memory.words[(at + 8) >> 2] = bytes;
  }

  #setPointer(at: number, offset: number): void {
    const low = this.#baseLow + offset;
    const { words } = this.memory;
    words[at >> 2] = low;
    words[(at >> 2) + 1] = low < 2 ** 32 ? this.#baseHigh : this.#baseHigh + 1;
  }

  /** The offset that the pointer at `at` points to. */
  #offsetAt(at: number): number {
    return (this.memory.words[at >> 2]! - this.#baseLow) >>> 0;
  }
}
