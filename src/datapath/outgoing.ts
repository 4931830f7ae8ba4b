/**
 * From the TUN device to the peers: reads packets until none is left or the batch is full, splits super-packets, and
 * sends the batch with one system call.
 */

import { completeChecksum } from "../packet/checksum-offload.ts";
import { lookUpPeer, NO_PEER } from "../packet/forwarding-table.ts";
import { FRAGMENTATION_NEEDED, NET_UNREACHABLE, TIME_EXCEEDED } from "../packet/icmp.ts";
import {
  checkIpv4,
  decrementTtl,
  IP_DF,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_OK,
  IPV4_OTHER_VERSION,
  IPV4_TTL,
} from "../packet/ipv4.ts";
import type { PacketMemory } from "../packet/packet-memory.ts";
import {
  beginSegmentation,
  createSegmentation,
  MOST_HEADER_BYTES,
  payloadBytesOf,
  writeSegmentHeaders,
} from "../packet/segmentation.ts";
import {
  addDatagram,
  addPiece,
  clearQueue,
  createSendQueue,
  hasRoom,
  isSplitRefused,
  type SendQueue,
  sendApart,
} from "../packet/send-queue.ts";
import {
  VIRTIO_NET_HDR_GSO_NONE,
  VNET_GSO_SIZE,
  VNET_GSO_TYPE,
  VNET_HEADER_BYTES,
} from "../packet/virtio-net-header.ts";
import { COUNTER } from "./counters.ts";
import type { Forwarding } from "./forwarding.ts";
import type { IcmpErrors } from "./icmp-errors.ts";
import type { PacketIo } from "./packet-io.ts";

/** Longest packet that the kernel returns, with its virtio header. */
const MOST_PACKET_BYTES = 0xffff + VNET_HEADER_BYTES;
/** Room for what is read before it is sent: a few super-packets, or hundreds of small packets. */
const READ_BYTES = 256 * 1024;
/** Packets read before the other direction is served. */
const MOST_READS = 128;
const MOST_MESSAGES = 64;
const MOST_PIECES = 512;
/** A segment with a header of its own is two pieces. */
const HEADER_SLOTS = MOST_PIECES / 2;
/** Whole cache lines. */
const HEADER_SLOT_BYTES = Math.ceil(MOST_HEADER_BYTES / 64) * 64;
/** IP and UDP header around a packet. */
const OVERHEAD_BYTES = 28;

// asm-generic/errno.h
const EMSGSIZE = 90;

export class Outgoing {
  readonly #io: PacketIo;
  readonly #memory: PacketMemory;
  readonly #counters: Float64Array;
  readonly #icmp: IcmpErrors;
  readonly #onSegmentationRefused: () => void;
  readonly #queue: SendQueue = createSendQueue(MOST_MESSAGES, MOST_PIECES);
  /** For datagrams that are sent one by one. */
  readonly #apart: SendQueue = createSendQueue(1, 2);
  readonly #segmentation = createSegmentation();
  readonly #readOffset: number;
  readonly #headerOffset: number;
  /** End of the space for the packet read last. */
  #readPosition: number;
  #headerSlot = 0;
  #forwarding: Forwarding;

  /** `onSegmentationRefused` is called once, when the kernel refuses to split messages. */
  constructor(
    io: PacketIo,
    counters: Float64Array,
    icmp: IcmpErrors,
    forwarding: Forwarding,
    onSegmentationRefused: () => void,
  ) {
    this.#io = io;
    this.#memory = io.memory;
    this.#counters = counters;
    this.#icmp = icmp;
    this.#forwarding = forwarding;
    this.#onSegmentationRefused = onSegmentationRefused;
    this.#queue.mostDatagrams = io.mostDatagrams;
    this.#readOffset = this.#memory.reserve(READ_BYTES);
    this.#readPosition = this.#readOffset;
    this.#headerOffset = this.#memory.reserve(HEADER_SLOTS * HEADER_SLOT_BYTES);
  }

  set forwarding(forwarding: Forwarding) {
    this.#forwarding = forwarding;
  }

  /** Moves the packets that wait on the TUN device, up to a limit. 0, or the -errno that ended reading. */
  turn(): number {
    const io = this.#io;
    const headerBytes = io.hasVirtioHeader ? VNET_HEADER_BYTES : 0;
    let result = 0;
    for (let reads = 0; reads < MOST_READS; reads++) {
      if (this.#readPosition + MOST_PACKET_BYTES + 32 > this.#readOffset + READ_BYTES) this.flush();
      // The IP header at a multiple of 16.
      const offset = ((this.#readPosition + headerBytes + 15) & ~15) - headerBytes;
      const length = io.readTun(offset, MOST_PACKET_BYTES);
      if (length < 0) {
        result = length;
        break;
      }
      this.#readPosition = offset + length;
      this.#take(offset + headerBytes, length - headerBytes, headerBytes > 0);
    }
    this.flush();
    return result;
  }

  #take(offset: number, length: number, hasVirtioHeader: boolean): void {
    const memory = this.#memory;
    const { bytes, view } = memory;
    const check = checkIpv4(memory, offset, length);
    if (check !== IPV4_OK) {
      this.#count(check === IPV4_OTHER_VERSION ? COUNTER.droppedNotIpv4 : COUNTER.droppedMalformed);
      return;
    }
    const peer = lookUpPeer(this.#forwarding.table, view.getUint32(offset + IPV4_DESTINATION));
    if (peer === NO_PEER) {
      this.#count(COUNTER.droppedNoRoute);
      this.#icmp.answerContainer(offset, length, NET_UNREACHABLE, this.#forwarding);
      return;
    }
    if (bytes[offset + IPV4_TTL]! <= 1) {
      this.#count(COUNTER.droppedTtl);
      this.#icmp.answerContainer(offset, length, TIME_EXCEEDED, this.#forwarding);
      return;
    }
    decrementTtl(memory, offset);
    const virtio = offset - VNET_HEADER_BYTES;
    if (hasVirtioHeader && bytes[virtio + VNET_GSO_TYPE] !== VIRTIO_NET_HDR_GSO_NONE) {
      this.#cutUp(peer, offset, length, virtio);
      return;
    }
    if (hasVirtioHeader && !completeChecksum(memory, offset, length, virtio)) {
      this.#count(COUNTER.droppedMalformed);
      return;
    }
    if (!hasRoom(this.#queue)) this.#send();
    addDatagram(this.#queue, peer, length);
    addPiece(this.#queue, offset, length);
  }

  #cutUp(peer: number, offset: number, length: number, virtio: number): void {
    const memory = this.#memory;
    const { bytes, view } = memory;
    const segmentation = this.#segmentation;
    const gsoSize = view.getUint16(virtio + VNET_GSO_SIZE, true);
    if (!beginSegmentation(segmentation, memory, offset, length, bytes[virtio + VNET_GSO_TYPE]!, gsoSize)) {
      this.#count(COUNTER.droppedMalformed);
      return;
    }
    const { headerBytes, count, segmentBytes } = segmentation;
    for (let index = 0; index < count; index++) {
      if (!hasRoom(this.#queue)) this.#send();
      const payloadBytes = payloadBytesOf(segmentation, index);
      if (index === 0) {
        writeSegmentHeaders(segmentation, memory, index, offset);
        addDatagram(this.#queue, peer, headerBytes + payloadBytes);
        addPiece(this.#queue, offset, headerBytes + payloadBytes);
      } else {
        const header = this.#headerOffset + this.#headerSlot++ * HEADER_SLOT_BYTES;
        writeSegmentHeaders(segmentation, memory, index, header);
        addDatagram(this.#queue, peer, headerBytes + payloadBytes);
        addPiece(this.#queue, header, headerBytes);
        addPiece(this.#queue, offset + headerBytes + index * segmentBytes, payloadBytes);
      }
    }
  }

  /** Sends the queue; the packets read so far may be overwritten afterwards. */
  flush(): void {
    this.#send();
    this.#readPosition = this.#readOffset;
  }

  #send(): void {
    const queue = this.#queue;
    for (let first = 0; first < queue.messages; ) {
      const sent = this.#io.send(queue, first);
      this.#count(COUNTER.sendCalls);
      for (const end = first + sent; first < end; first++) this.#countSent(queue, first);
      if (sent <= 0) this.#handleRefusal(first++, -sent);
    }
    clearQueue(queue);
    this.#headerSlot = 0;
  }

  #handleRefusal(message: number, errno: number): void {
    const queue = this.#queue;
    const count = queue.datagrams[message]!;
    const isSegmentation = isSplitRefused(queue, message, errno);
    if (errno !== EMSGSIZE && !isSegmentation) {
      this.#count(COUNTER.droppedSend, count);
      return;
    }
    // One by one, because some may be too big.
    const sentWhole = sendApart(queue, message, this.#apart, () => this.#sendOne());
    if (isSegmentation && sentWhole === count && queue.mostDatagrams > 1) {
      queue.mostDatagrams = 1;
      this.#onSegmentationRefused();
    }
  }

  /** Sends the datagram in `#apart`; false = not, or only in fragments. */
  #sendOne(): boolean {
    const sent = this.#io.send(this.#apart, 0);
    this.#count(COUNTER.sendCalls);
    if (sent > 0) this.#countSent(this.#apart, 0);
    else if (sent === -EMSGSIZE) this.#handleTooBig();
    else this.#count(COUNTER.droppedSend);
    return sent > 0;
  }

  /** The datagram in `#apart` is larger than the path MTU to the peer. Its first piece has the headers. */
  #handleTooBig(): void {
    const apart = this.#apart;
    const offset = apart.pieceOffset[0]!;
    const mayFragment = (this.#memory.view.getUint16(offset + IPV4_FRAGMENT) & IP_DF) === 0;
    if (mayFragment) {
      if (this.#io.sendFragmented(apart, 0) > 0) this.#countSent(apart, 0);
      else this.#count(COUNTER.droppedSend);
      return;
    }
    this.#count(COUNTER.droppedTooBig);
    const mtuBytes = this.#io.pathMtuBytes(apart.destination[0]!) - OVERHEAD_BYTES;
    if (mtuBytes <= 0) return;
    FRAGMENTATION_NEEDED.mtuBytes = mtuBytes;
    this.#icmp.answerContainer(offset, apart.pieceBytes[0]!, FRAGMENTATION_NEEDED, this.#forwarding);
  }

  #countSent(queue: SendQueue, message: number): void {
    this.#count(COUNTER.sentBatches);
    this.#count(COUNTER.sentPackets, queue.datagrams[message]!);
    this.#count(COUNTER.sentBytes, queue.messageBytes[message]!);
  }

  #count(counter: number, amount = 1): void {
    this.#counters[counter] = this.#counters[counter]! + amount;
  }
}
