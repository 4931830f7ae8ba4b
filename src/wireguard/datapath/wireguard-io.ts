/**
 * The port of a userspace WireGuard device to the kernel: a TUN device, and a UDP socket for each family. Packets are in one
 * packet memory, and no call allocates, except those for handshakes. Failures are negative numbers: -errno.
 */

import type { PieceList } from "../../packet/coalescing.ts";
import type { PacketMemory } from "../../packet/packet-memory.ts";
import type { SendQueue } from "../../packet/send-queue.ts";

/** Bits that {@link WireguardIo.wait} returns. */
export const TUN_READY = 1;
export const IPV4_READY = 2;
export const IPV6_READY = 4;
/** There are orders. */
export const WOKEN = 8;

/** Datagrams received by one call. What the kernel joined (UDP_GRO) is one entry. */
export interface DatagramBatch {
  count: number;
  /** Of each entry: where its bytes are and how many, and the size of its datagrams but perhaps the last. */
  readonly offset: Int32Array;
  readonly bytes: Int32Array;
  readonly datagramBytes: Int32Array;
  /** Of each entry: offset of the sender's socket address. */
  readonly source: Int32Array;
}

export interface WireguardIo {
  readonly memory: PacketMemory;
  readonly hasVirtioHeader: boolean;
  readonly joinsTcp: boolean;
  readonly joinsUdp: boolean;
  /** Most datagrams in one message of a send queue. */
  readonly mostDatagrams: number;
  readonly mostPeers: number;
  wait(timeoutMs: number): number;
  /** Blocks this thread. */
  pause(ms: number): void;
  readTun(offset: number, capacity: number): number;
  writeTun(list: PieceList, first: number, count: number): number;
  /** `ready`: IPV4_READY or IPV6_READY. The bytes stay until the next call. */
  receive(ready: number, batch: DatagramBatch): number;
  /** Sends messages from `first` on, whose destinations are slots: how many were sent, or -errno if the first one failed. */
  send(queue: SendQueue, first: number): number;
  /** Sends one handshake message to the socket address at that offset. */
  sendTo(address: number, message: Uint8Array): void;
  /** Offset of the socket address of a peer's endpoint, 28 bytes; zeros = none. */
  endpointOf(slot: number): number;
  nowMs(): number;
  wallClockMs(): number;
}
