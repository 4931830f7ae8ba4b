/**
 * From the peers to the TUN device: datagrams are received many at a time, data is decrypted in place and checked (a whole
 * IP packet, from a peer that has its source), and consecutive packets of a flow are written as one.
 */

import { COALESCER_BYTES, Coalescer } from "../../packet/coalescing.ts";
import { checkIpv4, IPV4_HEADER_BYTES, IPV4_OK, IPV4_SOURCE, IPV4_TOTAL_LENGTH } from "../../packet/ipv4.ts";
import { IPV6_HEADER_BYTES, IPV6_PAYLOAD_LENGTH, IPV6_SOURCE } from "../../packet/ipv6.ts";
import type { PacketMemory } from "../../packet/packet-memory.ts";
import type { WireguardDevice } from "../protocol/device.ts";
import {
  COUNTER,
  INITIATION_BYTES,
  RECEIVER,
  TRANSPORT_HEADER_BYTES,
  TRANSPORT_OVERHEAD_BYTES,
  TYPE_TRANSPORT,
} from "../protocol/messages.ts";
import { SOCKADDR_BYTES } from "../socket-address.ts";
import type { AllowedIps } from "./allowed-ips.ts";
import type { DatagramBatch, WireguardIo } from "./wireguard-io.ts";

const MOST_RECEIVED = 8;
/** Counters are exact numbers below 2^53. */
const MOST_COUNTER_HIGH = 2 ** 21;

export interface IncomingParts {
  readonly io: WireguardIo;
  readonly device: () => WireguardDevice;
  readonly allowedIps: AllowedIps;
  /** A data message of no session came from {@link Incoming.source}. */
  readonly noteUnknownSession: () => void;
}

export class Incoming {
  /** Offset of the socket address of the datagram that is being handled. */
  source = 0;
  readonly #parts: IncomingParts;
  readonly #memory: PacketMemory;
  readonly #batch: DatagramBatch = {
    count: 0,
    offset: new Int32Array(MOST_RECEIVED),
    bytes: new Int32Array(MOST_RECEIVED),
    datagramBytes: new Int32Array(MOST_RECEIVED),
    source: new Int32Array(MOST_RECEIVED),
  };
  readonly #coalescer: Coalescer;
  /** The -errno of a write that failed in this turn. */
  #failure = 0;

  constructor(parts: IncomingParts) {
    this.#parts = parts;
    const { io } = parts;
    this.#memory = io.memory;
    this.#coalescer = new Coalescer(io.memory, io.memory.reserve(COALESCER_BYTES), (list, first, count) => {
      const skip = io.hasVirtioHeader ? 0 : 1;
      const result = io.writeTun(list, first + skip, count - skip);
      if (result < 0) this.#failure = result;
    });
    this.#coalescer.joinsTcp = io.joinsTcp;
    this.#coalescer.joinsUdp = io.joinsUdp;
  }

  /** Moves what the socket gives at once. 0, or the -errno of the last failed write. */
  turn(ready: number): number {
    this.#failure = 0;
    const batch = this.#batch;
    if (this.#parts.io.receive(ready, batch) <= 0) return 0;
    for (let entry = 0; entry < batch.count; entry++) {
      const size = batch.datagramBytes[entry]!;
      const end = batch.offset[entry]! + batch.bytes[entry]!;
      this.source = batch.source[entry]!;
      for (let offset = batch.offset[entry]!; offset < end; offset += size)
        this.#take(offset, Math.min(size, end - offset));
    }
    this.#coalescer.flush();
    return this.#failure;
  }

  #take(offset: number, length: number): void {
    const { bytes, view } = this.#memory;
    if (length < TRANSPORT_OVERHEAD_BYTES) return;
    if (view.getUint32(offset, true) !== TYPE_TRANSPORT) {
      if (length > INITIATION_BYTES) return;
      // Views: most of a flood is dropped, and nothing is copied for it.
      const source = bytes.subarray(this.source, this.source + SOCKADDR_BYTES);
      this.#parts.device().receiveHandshake(bytes.subarray(offset, offset + length), source);
      return;
    }
    const device = this.#parts.device();
    const session = device.sessionAt(view.getUint32(offset + RECEIVER, true));
    if (session === undefined) {
      this.#parts.noteUnknownSession();
      return;
    }
    const high = view.getUint32(offset + COUNTER + 4, true);
    if (high >= MOST_COUNTER_HIGH) return;
    const counter = high * 2 ** 32 + view.getUint32(offset + COUNTER, true);
    const inner = offset + TRANSPORT_HEADER_BYTES;
    if (!session.receiving.open(counter, inner, length - TRANSPORT_HEADER_BYTES)) return;
    if (!session.window.accept(counter)) return;
    const innerBytes = length - TRANSPORT_OVERHEAD_BYTES;
    device.noteReceived(session, length, innerBytes > 0);
    if (innerBytes > 0) this.#deliver(inner, innerBytes, session.peer.slot);
  }

  /** Writes a decrypted packet without its padding, if its source is the peer's. */
  #deliver(offset: number, length: number, slot: number): void {
    const memory = this.#memory;
    const { bytes, view } = memory;
    const { allowedIps } = this.#parts;
    const version = bytes[offset]! >> 4;
    if (version === 4 && length >= IPV4_HEADER_BYTES) {
      const totalBytes = view.getUint16(offset + IPV4_TOTAL_LENGTH);
      if (totalBytes > length || checkIpv4(memory, offset, totalBytes) !== IPV4_OK) return;
      if (allowedIps.lookUp4(memory, offset + IPV4_SOURCE) !== slot) return;
      this.#coalescer.add(offset, totalBytes);
    } else if (version === 6 && length >= IPV6_HEADER_BYTES) {
      const totalBytes = IPV6_HEADER_BYTES + view.getUint16(offset + IPV6_PAYLOAD_LENGTH);
      if (totalBytes > length || allowedIps.lookUp6(memory, offset + IPV6_SOURCE) !== slot) return;
      this.#coalescer.add(offset, totalBytes);
    }
  }
}
