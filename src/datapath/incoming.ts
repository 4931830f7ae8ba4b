/**
 * From the peers to the TUN device: datagrams are received many at a time, each is checked (a complete IPv4 packet,
 * from the peer that has its source, for this host's subnet), and consecutive packets of a flow are written as one.
 */

import { COALESCER_BYTES, Coalescer } from "../packet/coalescing.ts";
import { isPeer, lookUpPeer } from "../packet/forwarding-table.ts";
import { TIME_EXCEEDED } from "../packet/icmp.ts";
import {
  checkIpv4,
  decrementTtl,
  IPV4_DESTINATION,
  IPV4_OK,
  IPV4_OTHER_VERSION,
  IPV4_SOURCE,
  IPV4_TTL,
} from "../packet/ipv4.ts";
import type { PacketMemory } from "../packet/packet-memory.ts";
import { COUNTER } from "./counters.ts";
import type { Forwarding } from "./forwarding.ts";
import type { IcmpErrors } from "./icmp-errors.ts";
import { createReceivedBatch, type PacketIo } from "./packet-io.ts";

export class Incoming {
  readonly #io: PacketIo;
  readonly #memory: PacketMemory;
  readonly #counters: Float64Array;
  readonly #icmp: IcmpErrors;
  readonly #batch = createReceivedBatch();
  readonly #coalescer: Coalescer;
  #forwarding: Forwarding;
  /** The -errno of a write that failed in this call of {@link Incoming.turn}. */
  #failure = 0;
  /** The last source that was found to belong to the last sender: the next packet's is most often the same. */
  #trustedSource = 0;
  #trustedSender = 0;

  constructor(io: PacketIo, counters: Float64Array, icmp: IcmpErrors, forwarding: Forwarding) {
    this.#io = io;
    this.#memory = io.memory;
    this.#counters = counters;
    this.#icmp = icmp;
    this.#forwarding = forwarding;
    this.#coalescer = new Coalescer(io.memory, io.memory.reserve(COALESCER_BYTES), (list, first, count) => {
      const skip = io.hasVirtioHeader ? 0 : 1;
      const result = io.writeTun(list, first + skip, count - skip);
      this.#count(COUNTER.tunWrites, 1);
      if (result >= 0) return;
      this.#count(COUNTER.droppedWrite, count - 1);
      this.#failure = result;
    });
    this.#coalescer.joinsTcp = io.joinsTcp;
    this.#coalescer.joinsUdp = io.joinsUdp;
  }

  set forwarding(forwarding: Forwarding) {
    this.#forwarding = forwarding;
    this.#trustedSender = 0;
  }

  /** Moves what one receive call returns. 0, or the -errno of the last failed write. */
  turn(): number {
    this.#failure = 0;
    const batch = this.#batch;
    if (this.#io.receive(batch) <= 0) return 0;
    for (let entry = 0; entry < batch.count; entry++) {
      const size = batch.datagramBytes[entry]!;
      const source = batch.source[entry]!;
      const end = batch.offset[entry]! + batch.bytes[entry]!;
      let offset = batch.offset[entry]!;
      if (offset === end) this.#take(offset, 0, source);
      for (; offset < end; offset += size) this.#take(offset, Math.min(size, end - offset), source);
    }
    this.#count(COUNTER.receivedBatches, batch.count);
    this.#coalescer.flush();
    return this.#failure;
  }

  #take(offset: number, length: number, sender: number): void {
    const memory = this.#memory;
    const check = checkIpv4(memory, offset, length);
    if (check !== IPV4_OK) {
      this.#count(check === IPV4_OTHER_VERSION ? COUNTER.droppedNotIpv4 : COUNTER.droppedMalformed, 1);
      return;
    }
    const { bytes, view } = memory;
    const source = view.getUint32(offset + IPV4_SOURCE);
    if (sender !== this.#trustedSender || source !== this.#trustedSource) {
      if (this.#forwarding.strictSource && !this.#isTrusted(source, sender)) return;
      this.#trustedSender = sender;
      this.#trustedSource = source;
    }
    const { ownBase, ownMask } = this.#forwarding;
    if ((view.getUint32(offset + IPV4_DESTINATION) & ownMask) >>> 0 !== ownBase) {
      this.#count(COUNTER.droppedMisdirected, 1);
      return;
    }
    if (bytes[offset + IPV4_TTL]! <= 1) {
      this.#count(COUNTER.droppedTtl, 1);
      this.#icmp.answerPeer(offset, length, TIME_EXCEEDED, this.#forwarding);
      return;
    }
    decrementTtl(memory, offset);
    this.#count(COUNTER.receivedPackets, 1);
    this.#count(COUNTER.receivedBytes, length);
    this.#coalescer.add(offset, length);
  }

  #isTrusted(source: number, sender: number): boolean {
    const { table } = this.#forwarding;
    if (lookUpPeer(table, source) === sender) return true;
    this.#count(isPeer(table, sender) ? COUNTER.droppedSpoofed : COUNTER.droppedStranger, 1);
    return false;
  }

  #count(counter: number, amount: number): void {
    this.#counters[counter] = this.#counters[counter]! + amount;
  }
}
