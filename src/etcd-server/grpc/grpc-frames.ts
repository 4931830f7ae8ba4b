/**
 * gRPC's framing of messages on a stream: a flag (compressed or not), the length in four bytes, the message
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 */

import { RpcError } from "../protocol/rpc-error.ts";

const PREFIX_BYTES = 5;
/** The first room for a message that arrives in pieces. */
const MIN_ROOM_BYTES = 16 * 1024;

/** The prefix of a message. */
export function prefixOf(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return prefix;
}

/** The message with its prefix. */
export const frame = (message: Uint8Array): Buffer => Buffer.concat([prefixOf(message), message]);

/**
 * Assembles messages from the pieces in which they arrive. Pieces are copied and the room for them grows with what has arrived:
 * node:http2 gives parts of the buffers it has read from the socket, so that one byte could keep 64 KiB in memory, and
 * a length alone must not cost anything.
 */
export class FrameReader {
  readonly #maxBytes: number;
  readonly #reserve: (bytes: number) => void;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixLength = 0;
  #room: Buffer = NO_ROOM;
  #length = 0;
  /** The last message that was copied together. */
  #lastRoom: Buffer | undefined;

  /** `reserve` is called before `bytes` more are kept; what it throws ends the reading. */
  constructor(maxBytes: number, reserve: (bytes: number) => void = () => {}) {
    this.#maxBytes = maxBytes;
    this.#reserve = reserve;
  }

  /** Whether a message is incomplete. */
  get isWithinMessage(): boolean {
    return this.#prefixLength > 0;
  }

  /** Takes a piece; yields the messages that end in it, which are valid until the next call. Throws RpcError: too large, compressed. */
  *push(piece: Buffer): Generator<Buffer> {
    let at = 0;
    while (at < piece.length || this.#isComplete()) {
      if (this.#prefixLength < PREFIX_BYTES) {
        const copied = piece.copy(
          this.#prefix,
          this.#prefixLength,
          at,
          at + PREFIX_BYTES - this.#prefixLength,
        );
        this.#prefixLength += copied;
        at += copied;
        if (this.#prefixLength < PREFIX_BYTES) return;
        this.#check();
      }
      const missing = this.#bytes - this.#length;
      const part = piece.subarray(at, at + missing);
      at += part.length;
      if (this.#length === 0 && part.length === missing) {
        this.#prefixLength = 0;
        yield part; // whole, not copied
        continue;
      }
      this.#keep(part);
      if (!this.#isComplete()) return;
      const message = this.#room.subarray(0, this.#length);
      this.discard();
      this.#lastRoom = message;
      yield message;
    }
  }

  /** Whether a message that was just yielded is the reader's copy, accounted for by `reserve`, and stays valid. */
  isOwnMemory(message: Buffer): boolean {
    return message.buffer === this.#lastRoom?.buffer;
  }

  /** Forgets what has arrived. */
  discard(): void {
    this.#room = NO_ROOM;
    this.#lastRoom = undefined;
    this.#length = 0;
    this.#prefixLength = 0;
  }

  get #bytes(): number {
    return this.#prefix.readUInt32BE(1);
  }

  #isComplete(): boolean {
    return this.#prefixLength === PREFIX_BYTES && this.#length === this.#bytes;
  }

  #check(): void {
    if (this.#bytes > this.#maxBytes) {
      throw new RpcError(
        "RESOURCE_EXHAUSTED",
        `grpc: received message larger than max (${this.#bytes} vs. ${this.#maxBytes})`,
      );
    }
    if (this.#prefix[0] !== 0)
      throw new RpcError("UNIMPLEMENTED", "grpc: compressed messages are not supported");
  }

  #keep(part: Buffer): void {
    const needed = this.#length + part.length;
    if (needed > this.#room.length) {
      const size = Math.min(this.#bytes, Math.max(MIN_ROOM_BYTES, 2 * this.#room.length, needed));
      this.#reserve(size - this.#room.length);
      const room = Buffer.allocUnsafeSlow(size);
      this.#room.copy(room, 0, 0, this.#length);
      this.#room = room;
    }
    part.copy(this.#room, this.#length);
    this.#length = needed;
  }
}

const NO_ROOM: Buffer = Buffer.alloc(0);
