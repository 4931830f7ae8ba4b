/**
 * The structs that the data paths pass to the kernel, at fixed places of a packet memory and in the layout of 64-bit
 * Linux: struct pollfd, iovec and mmsghdr, and the control messages of UDP_SEGMENT and UDP_GRO (udp(7)). Nothing is allocated per
 * call.
 */

import type { PieceList } from "../packet/coalescing.ts";
import type { StructMemory } from "../packet/packet-memory.ts";
import type { SendQueue } from "../packet/send-queue.ts";
import { addressOf } from "./ffi.ts";
import { SOL_UDP, UDP_GRO, UDP_SEGMENT } from "./udp-socket.ts";

// poll.h
const POLLIN = 1;
const POLLFD_BYTES = 8;
const POLLFD_REVENTS = 6;

// bits/types/struct_iovec.h, bits/socket.h
export const IOVEC_BYTES = 16;
export const MMSGHDR_BYTES = 64;
export const MSG_NAME = 0;
export const MSG_NAMELEN = 8;
export const MSG_IOV = 16;
export const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
export const MSG_LEN = 56;
export const MSG_DONTWAIT = 0x40;
/** struct cmsghdr with an int: its length is 20, its space 24 (CMSG_SPACE). */
const CMSG_BYTES = 24;
const CMSG_DATA = 16;
const CMSG_LEN_U16 = 18;
const CMSG_LEN_INT = 20;

/** A joined datagram is an IP packet without its headers. */
const RECEIVE_BYTES = 64 * 1024;

/** Places are byte offsets in the memory; only what is passed to a system call is an address. */
export class MessageStructs {
  /** Address of the memory. */
  readonly base: number;
  readonly #memory: StructMemory;
  readonly #baseLow: number;
  readonly #baseHigh: number;

  constructor(memory: StructMemory) {
    this.#memory = memory;
    this.base = addressOf(memory.bytes);
    this.#baseLow = this.base % 2 ** 32;
    this.#baseHigh = Math.floor(this.base / 2 ** 32);
  }

  /** An array of struct pollfd that waits for input; poll(2) ignores negative descriptors. */
  reservePolls(fds: readonly number[]): number {
    const { view } = this.#memory;
    const polls = this.#memory.reserve(fds.length * POLLFD_BYTES);
    for (const [index, fd] of fds.entries()) {
      view.setInt32(polls + index * POLLFD_BYTES, fd, true);
      view.setInt16(polls + index * POLLFD_BYTES + 4, POLLIN, true);
    }
    return polls;
  }

  /** Whether the last poll found the descriptor ready. */
  isReady(polls: number, index: number): boolean {
    return this.#memory.view.getInt16(polls + index * POLLFD_BYTES + POLLFD_REVENTS, true) !== 0;
  }

  reservePieces(count: number): number {
    return this.#memory.reserve(count * IOVEC_BYTES);
  }

  setPiece(pieces: number, index: number, offset: number, bytes: number): void {
    const at = pieces + index * IOVEC_BYTES;
    this.setPointer(at, offset);
    this.#memory.words[(at + 8) >> 2] = bytes;
  }

  /** The pieces `first`…`first + count - 1` of the list, as an array that begins with the first of them. */
  setPieces(pieces: number, list: PieceList, first: number, count: number): void {
    for (let index = 0; index < count; index++)
      this.setPiece(pieces, index, list.pieceOffset[first + index]!, list.pieceBytes[first + index]!);
  }

  /** An array of struct mmsghdr for sending, each with a control message; without addresses and pieces. */
  reserveMessages(count: number): number {
    const { view, reserve } = this.#memory;
    const headers = reserve(count * MMSGHDR_BYTES);
    const controls = reserve(count * CMSG_BYTES);
    for (let message = 0; message < count; message++) {
      const control = controls + message * CMSG_BYTES;
      view.setInt32(control, CMSG_LEN_U16, true);
      view.setInt32(control + 8, SOL_UDP, true);
      view.setInt32(control + 12, UDP_SEGMENT, true);
      this.setPointer(headers + message * MMSGHDR_BYTES + MSG_CONTROL, control);
    }
    return headers;
  }

  /** An array of struct mmsghdr for receiving, each with room for 64 KB and for an address of `nameBytes`. */
  reserveReceiveMessages(count: number, nameBytes: number): number {
    const { view, reserve } = this.#memory;
    const headers = this.reserveMessages(count);
    const pieces = this.reservePieces(count);
    for (let message = 0; message < count; message++) {
      const header = headers + message * MMSGHDR_BYTES;
      this.setPiece(pieces, message, reserve(RECEIVE_BYTES), RECEIVE_BYTES);
      this.setPointer(header + MSG_IOV, pieces + message * IOVEC_BYTES);
      view.setInt32(header + MSG_IOVLEN, 1, true);
      this.setPointer(header + MSG_NAME, reserve(nameBytes));
    }
    return headers;
  }

  /** Gives the room for addresses and control messages back to the kernel, which shortens it with each message. */
  renewReceiveMessages(headers: number, count: number, nameBytes: number): void {
    const { words } = this.#memory;
    for (let message = 0; message < count; message++) {
      const header = headers + message * MMSGHDR_BYTES;
      words[(header + MSG_NAMELEN) >> 2] = nameBytes;
      words[(header + MSG_CONTROLLEN) >> 2] = CMSG_BYTES;
    }
  }

  /** Where the bytes of a received message are. */
  receivedAt(header: number): number {
    return this.offsetAt(this.offsetAt(header + MSG_IOV));
  }

  /** Size of the datagrams that the kernel joined, from the control message; 0 if it did not. */
  joinedSize(header: number): number {
    const { view } = this.#memory;
    if (view.getInt32(header + MSG_CONTROLLEN, true) < CMSG_LEN_INT) return 0;
    const control = this.offsetAt(header + MSG_CONTROL);
    const isGro =
      view.getInt32(control + 8, true) === SOL_UDP && view.getInt32(control + 12, true) === UDP_GRO;
    return isGro ? view.getInt32(control + CMSG_DATA, true) : 0;
  }

  /** Fills in the pieces of a message of the queue, whose pieces are in the array at `pieces`, and how it is to be split. */
  setMessage(header: number, pieces: number, queue: SendQueue, message: number): void {
    const { view, words } = this.#memory;
    const piece = queue.firstPiece[message]!;
    this.setPointer(header + MSG_IOV, pieces + piece * IOVEC_BYTES);
    words[(header + MSG_IOVLEN) >> 2] = queue.firstPiece[message + 1]! - piece;
    const isMany = queue.datagrams[message]! > 1;
    words[(header + MSG_CONTROLLEN) >> 2] = isMany ? CMSG_BYTES : 0;
    if (isMany) {
      const control = this.offsetAt(header + MSG_CONTROL);
      view.setUint16(control + CMSG_DATA, queue.datagramBytes[message]!, true);
    }
  }

  setPointer(at: number, offset: number): void {
    const low = this.#baseLow + offset;
    const { words } = this.#memory;
    words[at >> 2] = low;
    words[(at >> 2) + 1] = low < 2 ** 32 ? this.#baseHigh : this.#baseHigh + 1;
  }

  /** The offset that the pointer at `at` points to. */
  offsetAt(at: number): number {
    return (this.#memory.words[at >> 2]! - this.#baseLow) >>> 0;
  }
}
