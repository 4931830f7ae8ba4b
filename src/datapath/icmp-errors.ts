/** ICMP errors to the senders of packets that were not forwarded, rate-limited (RFC 1812 §4.3.2.8). */

import { lookUpPeer, NO_PEER } from "../packet/forwarding-table.ts";
import { ICMP_ERROR_BYTES, type IcmpError, mayAnswer, writeIcmpError } from "../packet/icmp.ts";
import { IPV4_SOURCE } from "../packet/ipv4.ts";
import { createRateLimit, takeToken } from "../packet/rate-limit.ts";
import { addDatagram, addPiece, clearQueue, createSendQueue } from "../packet/send-queue.ts";
import { COUNTER } from "./counters.ts";
import type { Forwarding } from "./forwarding.ts";
import type { PacketIo } from "./packet-io.ts";

/** The defaults of Linux: net.ipv4.icmp_msgs_per_sec, icmp_msgs_burst. */
const PER_SECOND = 1000;
const BURST = 50;

export class IcmpErrors {
  readonly #io: PacketIo;
  readonly #counters: Float64Array;
  readonly #limit = createRateLimit(PER_SECOND, BURST);
  readonly #queue = createSendQueue(1, 1);
  readonly #packet: number;

  constructor(io: PacketIo, counters: Float64Array) {
    this.#io = io;
    this.#counters = counters;
    this.#packet = io.memory.reserve(ICMP_ERROR_BYTES);
  }

  /** About a packet from the TUN device. */
  answerContainer(offset: number, length: number, error: IcmpError, forwarding: Forwarding): void {
    const bytes = this.#write(offset, length, error, forwarding);
    if (bytes > 0 && this.#io.sendOwn(this.#packet, bytes) >= 0) this.#count(COUNTER.icmpErrors);
  }

  /** About a packet from a peer: the error goes to the peer that has its source. */
  answerPeer(offset: number, length: number, error: IcmpError, forwarding: Forwarding): void {
    const { view } = this.#io.memory;
    const peer = lookUpPeer(forwarding.table, view.getUint32(offset + IPV4_SOURCE));
    if (peer === NO_PEER) return;
    const bytes = this.#write(offset, length, error, forwarding);
    if (bytes === 0) return;
    clearQueue(this.#queue);
    addDatagram(this.#queue, peer, bytes);
    addPiece(this.#queue, this.#packet, bytes);
    if (this.#io.send(this.#queue, 0) > 0) this.#count(COUNTER.icmpErrors);
  }

  /** The error's length; 0 if none may be sent. */
  #write(offset: number, length: number, error: IcmpError, { ownBase }: Forwarding): number {
    const { memory } = this.#io;
    if (ownBase === 0 || !mayAnswer(memory, offset, error)) return 0;
    if (!takeToken(this.#limit, this.#io.nowMs())) {
      this.#count(COUNTER.icmpErrorsWithheld);
      return 0;
    }
    return writeIcmpError(memory, offset, length, error, ownBase, this.#packet);
  }

  #count(counter: number): void {
    this.#counters[counter] = this.#counters[counter]! + 1;
  }
}
