/**
 * gRPC's framing of messages on a stream: a flag (compressed or not), the length in four bytes, the message
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 */

import { RpcError } from "../protocol/rpc-error.ts";

const PREFIX_BYTES = 5;

/** What goes before the message. */
export function prefixOf(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return prefix;
}

/** The message with its prefix. */
export const frame = (message: Uint8Array): Buffer => Buffer.concat([prefixOf(message), message]);

/** Puts messages together from the pieces in which they arrive. */
export class FrameReader {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether a message has begun and not ended. */
  get isWithinMessage(): boolean {
    return this.#length > 0;
  }

  /** Takes a piece; gives the messages that end in it. Throws RpcError: too large, compressed. */
  *push(piece: Buffer): Generator<Buffer> {
    this.#pieces.push(piece);
    this.#length += piece.length;
    while (this.#length >= PREFIX_BYTES) {
      const prefix = this.#contiguous(PREFIX_BYTES);
      const bytes = prefix.readUInt32BE(1);
      if (bytes > this.#maxBytes) {
        throw new RpcError(
          "RESOURCE_EXHAUSTED",
          `grpc: received message larger than max (${bytes} vs. ${this.#maxBytes})`,
        );
      }
      if (prefix[0] !== 0) throw new RpcError("UNIMPLEMENTED", "grpc: compressed messages are not supported");
      if (this.#length < PREFIX_BYTES + bytes) return;
      const whole = this.#contiguous(PREFIX_BYTES + bytes);
      const rest = whole.subarray(PREFIX_BYTES + bytes);
      this.#pieces[0] = rest;
      this.#length -= PREFIX_BYTES + bytes;
      yield whole.subarray(PREFIX_BYTES, PREFIX_BYTES + bytes);
    }
  }

  /** The first piece, which then is at least so long. */
  #contiguous(bytes: number): Buffer {
    if (this.#pieces[0]!.length < bytes) this.#pieces = [Buffer.concat(this.#pieces)];
    return this.#pieces[0]!;
  }
}
