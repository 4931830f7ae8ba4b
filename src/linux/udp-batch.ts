/**
 * The data path's port to the kernel: one readv or writev per packet of the TUN device, one sendmmsg or recvmmsg per
 * batch of datagrams. All structs are at fixed places of the packet memory, in the layout of 64-bit Linux: nothing is
 * allocated per call.
 */

import type { TunnelDescriptors } from "../datapath/descriptors.ts";
import {
  MOST_RECEIVED,
  type PacketIo,
  type ReceivedBatch,
  SOCKET_READY,
  TUN_READY,
  WOKEN,
} from "../datapath/packet-io.ts";
import type { PieceList } from "../packet/coalescing.ts";
import { createPacketMemory, type PacketMemory } from "../packet/packet-memory.ts";
import type { SendQueue } from "../packet/send-queue.ts";
import { addressOf, lastErrno, sys } from "./ffi.ts";
import {
  AF_INET,
  fragmentOutgoing,
  pathMtuBytes,
  SOCKADDR_IN_BYTES,
  SOL_UDP,
  socketAddress,
  UDP_GRO,
  UDP_SEGMENT,
} from "./udp-socket.ts";

/** For packets in both directions, and the structs. */
const MEMORY_BYTES = 1536 * 1024;

// poll.h
const POLLIN = 1;
const POLLFD_BYTES = 8;

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

/** A joined datagram is an IPv4 packet without its headers. */
const RECEIVE_BYTES = 64 * 1024;
/** More messages and pieces than any queue contains. */
const MOST_MESSAGES = 64;
const MOST_PIECES = 512;

export class UdpBatchIo implements PacketIo {
  readonly memory: PacketMemory = createPacketMemory(MEMORY_BYTES);
  readonly hasVirtioHeader: boolean;
  readonly joinsTcp: boolean;
  readonly joinsUdp: boolean;
  readonly mostDatagrams: number;
  readonly #rawFd: number;
  readonly #wakeFd: number;
  readonly #wakeCount = new Uint8Array(8);
  readonly #tunFd: number;
  readonly #udpFd: number;
  readonly #baseLow: number;
  readonly #baseHigh: number;
  // Offsets of the structs, and addresses of those that are passed to system calls.
  readonly #polls: number;
  readonly #tunPieces: number;
  readonly #sendMessages: number;
  readonly #sendPieces: number;
  readonly #receiveMessages: number;
  readonly #pollsAddress: number;
  readonly #tunPiecesAddress: number;
  readonly #receiveMessagesAddress: number;
  /** Of each message of the send array. */
  readonly #sendAddresses: Float64Array;

  constructor({ tun, udp, rawFd, port, wakeFd }: TunnelDescriptors) {
    this.hasVirtioHeader = tun.hasVirtioHeader;
    this.joinsTcp = tun.joinsTcp;
    this.joinsUdp = tun.joinsUdp;
    this.mostDatagrams = udp.segments ? 64 : 1;
    this.#rawFd = rawFd;
    this.#wakeFd = wakeFd;
    this.#tunFd = tun.fd;
    this.#udpFd = udp.fd;
    const { memory } = this;
    const base = addressOf(memory.bytes);
    this.#baseLow = base % 2 ** 32;
    this.#baseHigh = Math.floor(base / 2 ** 32);

    this.#polls = memory.reserve(3 * POLLFD_BYTES);
    for (const [index, fd] of [tun.fd, udp.fd, wakeFd].entries()) {
      memory.view.setInt32(this.#polls + index * POLLFD_BYTES, fd, true);
      memory.view.setInt16(this.#polls + index * POLLFD_BYTES + 4, POLLIN, true);
    }
    this.#pollsAddress = base + this.#polls;
    this.#tunPieces = memory.reserve(MOST_PIECES * IOVEC_BYTES);
    this.#tunPiecesAddress = base + this.#tunPieces;
    this.#sendPieces = memory.reserve(MOST_PIECES * IOVEC_BYTES);
    this.#sendMessages = this.#layOutMessages(MOST_MESSAGES, port);
    this.#sendAddresses = Float64Array.from(
      { length: MOST_MESSAGES },
      (_, message) => base + this.#sendMessages + message * MMSGHDR_BYTES,
    );
    this.#receiveMessages = this.#layOutMessages(MOST_RECEIVED, port);
    this.#receiveMessagesAddress = base + this.#receiveMessages;
    const receivePieces = memory.reserve(MOST_RECEIVED * IOVEC_BYTES);
    for (let message = 0; message < MOST_RECEIVED; message++) {
      const piece = receivePieces + message * IOVEC_BYTES;
      const header = this.#receiveMessages + message * MMSGHDR_BYTES;
      this.#setPiece(piece, memory.reserve(RECEIVE_BYTES), RECEIVE_BYTES);
      this.#setPointer(header + MSG_IOV, piece);
      memory.view.setInt32(header + MSG_IOVLEN, 1, true);
    }
  }

  wait(timeoutMs: number): number {
    if (sys.poll(this.#pollsAddress, 3, timeoutMs) <= 0) return 0;
    const { view } = this.memory;
    const tun = view.getInt16(this.#polls + 6, true);
    const udp = view.getInt16(this.#polls + POLLFD_BYTES + 6, true);
    const wake = view.getInt16(this.#polls + 2 * POLLFD_BYTES + 6, true);
    if (wake !== 0) sys.read(this.#wakeFd, this.#wakeCount, this.#wakeCount.length);
    return (tun === 0 ? 0 : TUN_READY) | (udp === 0 ? 0 : SOCKET_READY) | (wake === 0 ? 0 : WOKEN);
  }

  readTun(offset: number, capacity: number): number {
    this.#setPiece(this.#tunPieces, offset, capacity);
    const result = sys.readv(this.#tunFd, this.#tunPiecesAddress, 1);
    return result < 0 ? -lastErrno() : result;
  }

  writeTun(list: PieceList, first: number, count: number): number {
    let piece = this.#tunPieces;
    for (let index = first; index < first + count; index++) {
      this.#setPiece(piece, list.pieceOffset[index]!, list.pieceBytes[index]!);
      piece += IOVEC_BYTES;
    }
    const result = sys.writev(this.#tunFd, this.#tunPiecesAddress, count);
    return result < 0 ? -lastErrno() : result;
  }

  receive(batch: ReceivedBatch): number {
    const { view } = this.memory;
    for (let message = 0; message < MOST_RECEIVED; message++) {
      const header = this.#receiveMessages + message * MMSGHDR_BYTES;
      view.setInt32(header + MSG_NAMELEN, SOCKADDR_IN_BYTES, true);
      view.setInt32(header + MSG_CONTROLLEN, CMSG_BYTES, true);
    }
    const result = sys.recvmmsg(this.#udpFd, this.#receiveMessagesAddress, MOST_RECEIVED, MSG_DONTWAIT, 0);
    batch.count = Math.max(0, result);
    for (let message = 0; message < result; message++) {
      const header = this.#receiveMessages + message * MMSGHDR_BYTES;
      const bytes = view.getInt32(header + MSG_LEN, true);
      batch.bytes[message] = bytes;
      batch.offset[message] = this.#offsetAt(this.#offsetAt(header + MSG_IOV));
      batch.source[message] = view.getUint32(this.#offsetAt(header + MSG_NAME) + 4);
      batch.datagramBytes[message] = this.#joinedSize(header) || bytes;
    }
    return result < 0 ? -lastErrno() : result;
  }

  send(queue: SendQueue, first: number): number {
    this.#fillMessages(queue, first);
    const result = sys.sendmmsg(this.#udpFd, this.#sendAddresses[first]!, queue.messages - first, 0);
    return result < 0 ? -lastErrno() : result;
  }

  sendFragmented(queue: SendQueue, first: number): number {
    fragmentOutgoing(this.#udpFd, true);
    const result = this.send(queue, first);
    fragmentOutgoing(this.#udpFd, false);
    return result;
  }

  sendOwn(offset: number, length: number): number {
    const packet = this.memory.bytes.subarray(offset, offset + length);
    const address = socketAddress(packet.subarray(16, 20), 0);
    const result = sys.sendto(this.#rawFd, packet, length, MSG_DONTWAIT, address, address.length);
    return result < 0 ? -lastErrno() : result;
  }

  pathMtuBytes(destination: number): number {
    const address = new Uint8Array(4);
    new DataView(address.buffer).setUint32(0, destination);
    return pathMtuBytes(address);
  }

  nowMs(): number {
    return performance.now();
  }

  #fillMessages(queue: SendQueue, first: number): void {
    const { view, words } = this.memory;
    const firstPiece = queue.firstPiece[first]!;
    for (let piece = firstPiece; piece < queue.pieces; piece++) {
      this.#setPiece(
        this.#sendPieces + piece * IOVEC_BYTES,
        queue.pieceOffset[piece]!,
        queue.pieceBytes[piece]!,
      );
    }
    for (let message = first; message < queue.messages; message++) {
      const header = this.#sendMessages + message * MMSGHDR_BYTES;
      const piece = queue.firstPiece[message]!;
      const address = this.#offsetAt(header + MSG_NAME);
      view.setUint32(address + 4, queue.destination[message]!);
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

  /** An array of struct mmsghdr, each with an address and a control message; without pieces. */
  #layOutMessages(count: number, port: number): number {
    const { memory } = this;
    const { view } = memory;
    const headers = memory.reserve(count * MMSGHDR_BYTES);
    const addresses = memory.reserve(count * SOCKADDR_IN_BYTES);
    const controls = memory.reserve(count * CMSG_BYTES);
    for (let message = 0; message < count; message++) {
      const header = headers + message * MMSGHDR_BYTES;
      const address = addresses + message * SOCKADDR_IN_BYTES;
      const control = controls + message * CMSG_BYTES;
      view.setUint16(address, AF_INET, true);
      view.setUint16(address + 2, port);
      view.setInt32(control, CMSG_LEN_U16, true);
      view.setInt32(control + 8, SOL_UDP, true);
      view.setInt32(control + 12, UDP_SEGMENT, true);
      this.#setPointer(header + MSG_NAME, address);
      view.setInt32(header + MSG_NAMELEN, SOCKADDR_IN_BYTES, true);
      this.#setPointer(header + MSG_CONTROL, control);
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
