/**
 * Budgets for what clients make the server hold: bytes of unfinished requests and bytes that were not sent yet, for each
 * connection and in total, and the number of streams. What exceeds them is refused with RESOURCE_EXHAUSTED; the connection of a
 * client that does not read is closed. So no client can make memory grow without bound.
 */

import { RpcError } from "../protocol/rpc-error.ts";

export interface TrafficLimits {
  /** Bytes of requests that are not complete. */
  readonly receivedBytes: number;
  readonly receivedBytesPerConnection: number;
  /** Bytes of responses that wait for their clients. */
  readonly unsentBytes: number;
  readonly unsentBytesPerConnection: number;
  /** Of one response. */
  readonly responseBytes: number;
  readonly streams: number;
  /** How long a client may leave a response unread. */
  readonly stallMs: number;
  /** From the first byte of a request to its last. */
  readonly requestMs: number;
}

const MIB = 1024 * 1024;

export const TRAFFIC_LIMITS: TrafficLimits = {
  receivedBytes: 64 * MIB,
  receivedBytesPerConnection: 32 * MIB,
  unsentBytes: 128 * MIB,
  unsentBytesPerConnection: 32 * MIB,
  responseBytes: 64 * MIB,
  streams: 32_768,
  stallMs: 60_000,
  requestMs: 60_000,
};

/** A client that takes less than this within `stallMs` while something waits for it is stalled. */
const PROGRESS_BYTES = 64 * 1024;

/** Responses below this are served as long as their own connection reads, however much others leave unread. */
const SMALL_BYTES = 64 * 1024;

/** What the budgets need of a connection. */
export interface TrafficConnection {
  /** Bytes handed to the kernel so far. */
  readonly bytesWritten: number;
  destroy(): void;
}

/** What the budgets need of a stream. */
export interface TrafficStream {
  /** The request takes too long; called again if the stream stays open. */
  expire(): void;
  /** There is room again, after {@link StreamTraffic.isCongested} was true. */
  resume(): void;
}

export class Traffic {
  readonly limits: TrafficLimits;
  readonly connections = new Set<ConnectionTraffic>();
  receivedBytes = 0;
  unsentBytes = 0;
  streams = 0;

  constructor(limits: TrafficLimits = TRAFFIC_LIMITS) {
    this.limits = limits;
  }

  /** Cuts stalled clients, refuses requests that take too long, and resumes streams that wait for room. Call it about every second. */
  sweep(nowMs: number): void {
    for (const connection of this.connections) {
      if (connection.isStalled(nowMs)) connection.destroy();
      else for (const stream of connection.streams) stream.sweep(nowMs);
    }
  }
}

export class ConnectionTraffic {
  readonly traffic: Traffic;
  readonly streams = new Set<StreamTraffic>();
  readonly #connection: TrafficConnection;
  #mark:
    | { readonly sinceMs: number; readonly bytesWritten: number; readonly unsentBytes: number }
    | undefined;
  receivedBytes = 0;
  unsentBytes = 0;

  constructor(traffic: Traffic, connection: TrafficConnection) {
    this.traffic = traffic;
    this.#connection = connection;
    traffic.connections.add(this);
  }

  destroy(): void {
    this.#connection.destroy();
  }

  /** To be called once when the connection is closed. */
  close(): void {
    this.traffic.connections.delete(this);
    for (const stream of this.streams) stream.close();
  }

  /** Whether something has waited for `stallMs` and the client took next to nothing of it. */
  isStalled(nowMs: number): boolean {
    if (this.unsentBytes === 0) {
      this.#mark = undefined;
      return false;
    }
    const { bytesWritten } = this.#connection;
    const mark = this.#mark;
    const progress = bytesWritten - (mark?.bytesWritten ?? 0);
    if (mark === undefined || progress >= Math.min(mark.unsentBytes, PROGRESS_BYTES)) {
      this.#mark = { sinceMs: nowMs, bytesWritten, unsentBytes: this.unsentBytes };
      return false;
    }
    return nowMs - mark.sinceMs >= this.traffic.limits.stallMs;
  }
}

/** The account of one stream. */
export class StreamTraffic {
  readonly #connection: ConnectionTraffic;
  readonly #stream: TrafficStream;
  #deadlineStartMs: number;
  #receivedBytes = 0;
  #unsentBytes = 0;
  /** Part of `#unsentBytes`. */
  #reservedBytes = 0;
  #isComplete = false;
  #isWaiting = false;
  #isClosed = false;

  /** Throws RpcError: too many streams. */
  constructor(connection: ConnectionTraffic, stream: TrafficStream, nowMs: number) {
    const { traffic } = connection;
    if (traffic.streams >= traffic.limits.streams) throw exhausted("too many streams");
    traffic.streams++;
    this.#connection = connection;
    this.#stream = stream;
    this.#deadlineStartMs = nowMs;
    connection.streams.add(this);
  }

  /** Accounts for bytes of a request that are kept. Throws RpcError if that is too much. */
  receive(bytes: number): void {
    const { traffic } = this.#connection;
    const { limits } = traffic;
    if (
      traffic.receivedBytes + bytes > limits.receivedBytes ||
      this.#connection.receivedBytes + bytes > limits.receivedBytesPerConnection
    ) {
      throw exhausted("too many unfinished requests");
    }
    this.#addReceived(bytes);
  }

  /** The bytes of the request are no longer kept. */
  releaseReceived(): void {
    this.#addReceived(-this.#receivedBytes);
  }

  /** The request is complete, or the stream has no end of requests: no deadline any more. */
  complete(): void {
    this.#isComplete = true;
  }

  /** Throws RpcError if the connection has too many responses that it does not read. */
  admit(): void {
    const { traffic, unsentBytes } = this.#connection;
    if (unsentBytes > traffic.limits.unsentBytesPerConnection) throw exhausted("responses are not read");
  }

  /** Accounts for a response of `bytes` before it is encoded. Throws RpcError if that is too much. */
  reserve(bytes: number): void {
    if (bytes < SMALL_BYTES) return;
    const { traffic, unsentBytes } = this.#connection;
    const { limits } = traffic;
    if (bytes > limits.responseBytes) {
      throw exhausted(
        `a response of ${bytes} bytes is too large, the limit is ${limits.responseBytes}; read in parts`,
      );
    }
    const isTooMuch = unsentBytes > 0 && unsentBytes + bytes > limits.unsentBytesPerConnection;
    if (isTooMuch || traffic.unsentBytes + bytes > limits.unsentBytes)
      throw exhausted("responses are not read");
    this.#reservedBytes += bytes;
    this.#addUnsent(bytes);
  }

  /** Whether nothing more should be sent to this stream for now; then {@link TrafficStream.resume} follows. */
  get isCongested(): boolean {
    const { traffic } = this.#connection;
    const { limits } = traffic;
    const isCongested =
      traffic.unsentBytes > limits.unsentBytes ||
      this.#connection.unsentBytes > limits.unsentBytesPerConnection;
    this.#isWaiting ||= isCongested;
    return isCongested;
  }

  /** Accounts for a message that was written to the stream, in place of what was reserved for it. */
  queue(bytes: number): void {
    if (this.#isClosed) return;
    this.#addUnsent(bytes - this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  /** Bytes that node:http2 has sent. */
  sent(bytes: number): void {
    if (!this.#isClosed) this.#addUnsent(-bytes);
  }

  sweep(nowMs: number): void {
    if (!this.#isComplete && nowMs - this.#deadlineStartMs > this.#connection.traffic.limits.requestMs) {
      this.#deadlineStartMs = nowMs; // again, should the client not end the stream then
      this.#stream.expire();
    }
    if (!this.#isWaiting || this.#isClosed) return;
    this.#isWaiting = false;
    if (!this.isCongested) this.#stream.resume();
  }

  /** Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#addReceived(-this.#receivedBytes);
    this.#addUnsent(-this.#unsentBytes);
    this.#isClosed = true;
    this.#connection.traffic.streams--;
    this.#connection.streams.delete(this);
  }

  #addReceived(bytes: number): void {
    this.#receivedBytes += bytes;
    this.#connection.receivedBytes += bytes;
    this.#connection.traffic.receivedBytes += bytes;
  }

  #addUnsent(bytes: number): void {
    this.#unsentBytes += bytes;
    this.#connection.unsentBytes += bytes;
    this.#connection.traffic.unsentBytes += bytes;
  }
}

const exhausted = (what: string): RpcError => new RpcError("RESOURCE_EXHAUSTED", `etcdserver: ${what}`);
