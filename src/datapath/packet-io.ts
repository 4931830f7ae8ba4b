/**
 * The data path's port to the kernel: a TUN device and a UDP socket. All packets are in one packet memory, and no call
 * allocates. Failures are negative numbers, as in C: -errno.
 */

import type { PieceList } from "../packet/coalescing.ts";
import type { PacketMemory } from "../packet/packet-memory.ts";
import type { SendQueue } from "../packet/send-queue.ts";

/** Bits of the result of {@link PacketIo.wait}. */
export const TUN_READY = 1;
export const SOCKET_READY = 2;
/** There are messages for the thread. */
export const WOKEN = 4;

/** Datagrams received by one call. Datagrams that the kernel joined (UDP_GRO) are one entry. */
export interface ReceivedBatch {
  /** Number of entries. */
  count: number;
  /** Of each entry: offset and number of its bytes, size of its datagrams (the last may be shorter), the sender. */
  readonly offset: Int32Array;
  readonly bytes: Int32Array;
  readonly datagramBytes: Int32Array;
  readonly source: Uint32Array;
}

/** Entries of a batch: what one system call receives at most. */
export const MOST_RECEIVED = 8;

export const createReceivedBatch = (): ReceivedBatch => ({
  count: 0,
  offset: new Int32Array(MOST_RECEIVED),
  bytes: new Int32Array(MOST_RECEIVED),
  datagramBytes: new Int32Array(MOST_RECEIVED),
  source: new Uint32Array(MOST_RECEIVED),
});

export interface PacketIo {
  readonly memory: PacketMemory;
  /** Whether packets on the TUN device are preceded by a virtio header, in both directions. */
  readonly hasVirtioHeader: boolean;
  /** Whether the kernel accepts joined packets of these protocols. */
  readonly joinsTcp: boolean;
  readonly joinsUdp: boolean;
  /** Most datagrams in one message of a send queue. */
  readonly mostDatagrams: number;
  /** Blocks until a descriptor is readable, the thread is woken, or the timeout; 0 or bits. */
  wait(timeoutMs: number): number;
  /** Reads one packet, virtio header first, to `offset`: its length, or -errno (-EAGAIN: none). */
  readTun(offset: number, capacity: number): number;
  /** Writes one packet: 0 or more, or -errno. */
  writeTun(list: PieceList, first: number, count: number): number;
  /** Fills `batch`: the number of entries, or -errno (-EAGAIN: none). The bytes are valid until the next call. */
  receive(batch: ReceivedBatch): number;
  /** Sends messages from `first` on: how many were sent (fewer if the next one fails), or -errno if the first one failed. */
  send(queue: SendQueue, first: number): number;
  /** Sends one message that must be fragmented outside of the tunnel. */
  sendFragmented(queue: SendQueue, first: number): number;
  /**
   * Sends a packet of this process, complete with IP header, to its destination on this host: 0 or more, or -errno. Not
   * through the TUN device: from there the kernel drops packets with its own source address (martians).
   */
  sendOwn(offset: number, length: number): number;
  /** The kernel's current path MTU to a peer in bytes; 0 if unknown. */
  pathMtuBytes(destination: number): number;
  nowMs(): number;
}
