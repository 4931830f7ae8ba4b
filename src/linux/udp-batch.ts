/**
 * The data path's port to the kernel: one readv or writev per packet of the TUN device, one sendmmsg or recvmmsg per
 * batch of datagrams, on structs at fixed places of the packet memory: nothing is allocated per call.
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
import { lastErrno, sys } from "./ffi.ts";
import {
  MessageStructs,
  MMSGHDR_BYTES,
  MSG_DONTWAIT,
  MSG_LEN,
  MSG_NAME,
  MSG_NAMELEN,
} from "./message-structs.ts";
import { AF_INET, fragmentOutgoing, pathMtuBytes, SOCKADDR_IN_BYTES, socketAddress } from "./udp-socket.ts";

/** For packets in both directions, and the structs. */
const MEMORY_BYTES = 1536 * 1024;

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
  readonly #structs: MessageStructs;
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
    const structs = new MessageStructs(this.memory);
    const { base } = structs;
    this.#structs = structs;
    this.#polls = structs.reservePolls([tun.fd, udp.fd, wakeFd]);
    this.#pollsAddress = base + this.#polls;
    this.#tunPieces = structs.reservePieces(MOST_PIECES);
    this.#tunPiecesAddress = base + this.#tunPieces;
    this.#sendPieces = structs.reservePieces(MOST_PIECES);
    this.#sendMessages = this.#reserveSendMessages(port);
    this.#sendAddresses = Float64Array.from(
      { length: MOST_MESSAGES },
      (_, message) => base + this.#sendMessages + message * MMSGHDR_BYTES,
    );
    this.#receiveMessages = structs.reserveReceiveMessages(MOST_RECEIVED, SOCKADDR_IN_BYTES);
    this.#receiveMessagesAddress = base + this.#receiveMessages;
  }

  wait(timeoutMs: number): number {
    if (sys.poll(this.#pollsAddress, 3, timeoutMs) <= 0) return 0;
    const structs = this.#structs;
    const isWoken = structs.isReady(this.#polls, 2);
    if (isWoken) sys.read(this.#wakeFd, this.#wakeCount, this.#wakeCount.length);
    return (
      (structs.isReady(this.#polls, 0) ? TUN_READY : 0) |
      (structs.isReady(this.#polls, 1) ? SOCKET_READY : 0) |
      (isWoken ? WOKEN : 0)
    );
  }

  readTun(offset: number, capacity: number): number {
    this.#structs.setPiece(this.#tunPieces, 0, offset, capacity);
    const result = sys.readv(this.#tunFd, this.#tunPiecesAddress, 1);
    return result < 0 ? -lastErrno() : result;
  }

  writeTun(list: PieceList, first: number, count: number): number {
    this.#structs.setPieces(this.#tunPieces, list, first, count);
    const result = sys.writev(this.#tunFd, this.#tunPiecesAddress, count);
    return result < 0 ? -lastErrno() : result;
  }

  receive(batch: ReceivedBatch): number {
    const { view } = this.memory;
    const structs = this.#structs;
    structs.renewReceiveMessages(this.#receiveMessages, MOST_RECEIVED, SOCKADDR_IN_BYTES);
    const result = sys.recvmmsg(this.#udpFd, this.#receiveMessagesAddress, MOST_RECEIVED, MSG_DONTWAIT, 0);
    batch.count = Math.max(0, result);
    for (let message = 0; message < result; message++) {
      const header = this.#receiveMessages + message * MMSGHDR_BYTES;
      const bytes = view.getInt32(header + MSG_LEN, true);
      batch.bytes[message] = bytes;
      batch.offset[message] = structs.receivedAt(header);
      batch.source[message] = view.getUint32(structs.offsetAt(header + MSG_NAME) + 4);
      batch.datagramBytes[message] = structs.joinedSize(header) || bytes;
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
    const structs = this.#structs;
    const { view } = this.memory;
    for (let piece = queue.firstPiece[first]!; piece < queue.pieces; piece++)
      structs.setPiece(this.#sendPieces, piece, queue.pieceOffset[piece]!, queue.pieceBytes[piece]!);
    for (let message = first; message < queue.messages; message++) {
      const header = this.#sendMessages + message * MMSGHDR_BYTES;
      view.setUint32(structs.offsetAt(header + MSG_NAME) + 4, queue.destination[message]!);
      structs.setMessage(header, this.#sendPieces, queue, message);
    }
  }

  /** Each with an address of its own: IPv4, this port. */
  #reserveSendMessages(port: number): number {
    const { view, reserve } = this.memory;
    const messages = this.#structs.reserveMessages(MOST_MESSAGES);
    const addresses = reserve(MOST_MESSAGES * SOCKADDR_IN_BYTES);
    for (let message = 0; message < MOST_MESSAGES; message++) {
      const header = messages + message * MMSGHDR_BYTES;
      const address = addresses + message * SOCKADDR_IN_BYTES;
      view.setUint16(address, AF_INET, true);
      view.setUint16(address + 2, port);
      this.#structs.setPointer(header + MSG_NAME, address);
      view.setInt32(header + MSG_NAMELEN, SOCKADDR_IN_BYTES, true);
    }
    return messages;
  }
}
