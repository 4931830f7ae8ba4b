/**
 * The counters of the data path, in shared memory that its thread writes and any other thread reads: doubles, which are
 * exact up to 2^53 and written atomically.
 */

/** In this order in memory. Drops are counted in packets. */
export const COUNTERS = [
  /** From containers to peers. A batch is one message to the kernel, a call one system call. */
  "sentPackets",
  "sentBytes",
  "sentBatches",
  "sendCalls",
  /** From peers to containers. A batch is what the kernel received at once; one write may contain many packets. */
  "receivedPackets",
  "receivedBytes",
  "receivedBatches",
  "tunWrites",
  "icmpErrors",
  /** ICMP errors that the rate limit suppressed. */
  "icmpErrorsWithheld",
  /** Runts, and inconsistent headers or wrong checksums. */
  "droppedMalformed",
  /** IPv6 and others: the tunnel carries IPv4. */
  "droppedNotIpv4",
  /** No route: the destination is in no peer's subnet. */
  "droppedNoRoute",
  "droppedTtl",
  /** Larger than the path MTU to the peer, with DF. */
  "droppedTooBig",
  /** The kernel refused to send it: no route to the peer, firewall, no memory. */
  "droppedSend",
  /** The kernel refused the write to the TUN device: device down. */
  "droppedWrite",
  /** From an address that is not a peer's. */
  "droppedStranger",
  /** From a peer, but with a source that is not in this peer's subnet. */
  "droppedSpoofed",
  /** From a peer, but not for this host's subnet. */
  "droppedMisdirected",
] as const;

export type CounterName = (typeof COUNTERS)[number];
export type CounterValues = Readonly<Record<CounterName, number>>;

/** Number of the counter: `counters[COUNTER.sentPackets]++`. */
export const COUNTER = Object.fromEntries(COUNTERS.map((name, index) => [name, index])) as Readonly<
  Record<CounterName, number>
>;

export const createCounters = (): Float64Array<SharedArrayBuffer> =>
  new Float64Array(new SharedArrayBuffer(COUNTERS.length * Float64Array.BYTES_PER_ELEMENT));

export const readCounters = (counters: Float64Array): CounterValues =>
  Object.fromEntries(COUNTERS.map((name, index) => [name, counters[index]!])) as CounterValues;
