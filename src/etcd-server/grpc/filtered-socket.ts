/**
 * A connection whose incoming bytes pass {@link AuthorityFilter} before node:http2 reads them. Costs some 10 µs a request, because
 * node:http2 then reads and writes through JavaScript; so only clients that need it, or may need it, get one.
 */

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { AuthorityFilter } from "./authority-filter.ts";

type Done = (error?: Error | null) => void;

export class FilteredSocket extends Duplex {
  readonly #socket: Socket;

  /** `first`: bytes that passed the filter already. The socket must be paused. */
  constructor(socket: Socket, filter: AuthorityFilter, first: Buffer) {
    super({ allowHalfOpen: true });
    this.#socket = socket;
    if (first.length > 0) this.push(first);
    socket.on("data", (piece: Buffer) => {
      const bytes = filter.push(piece);
      if (bytes.length > 0 && !this.push(bytes)) socket.pause();
    });
    socket.on("end", () => this.push(null));
    socket.on("close", () => this.destroy());
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#socket.write(bytes, done);
  }

  override _writev(chunks: { readonly chunk: Buffer }[], done: Done): void {
    this.#socket.cork();
    for (const { chunk } of chunks.slice(0, -1)) this.#socket.write(chunk);
    this.#socket.write(chunks.at(-1)!.chunk, done);
    this.#socket.uncork();
  }

  override _final(done: Done): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#socket.destroy();
    done(error);
  }
}
