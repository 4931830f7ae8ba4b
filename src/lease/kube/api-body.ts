/** The body of a response as a stream: silence ends it, and each failure is a StoreError. */

import type { IncomingMessage } from "node:http";
import type { StoreError } from "../../base/error.ts";
import { Silence } from "../network-failure.ts";

/** Iterated once. Throws what `describe` makes of a broken connection, or of a silence longer than `patienceMs`. */
export class ApiBody implements AsyncIterable<Buffer> {
  readonly #message: IncomingMessage;
  readonly #describe: (error: unknown) => StoreError;
  #patienceMs: number;
  #timer: NodeJS.Timeout | undefined;

  /** `describe` converts an error of the connection. */
  constructor(message: IncomingMessage, describe: (error: unknown) => StoreError, patienceMs: number) {
    this.#message = message;
    this.#describe = describe;
    this.#patienceMs = patienceMs;
    message.on("error", () => {}); // before the body is read
  }

  /** The longest silence allowed from now on, in ms. */
  get patienceMs(): number {
    return this.#patienceMs;
  }

  set patienceMs(patienceMs: number) {
    this.#patienceMs = patienceMs;
    if (this.#timer !== undefined) this.#watch();
  }

  /** Throws StoreError. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    this.#watch();
    const chunks = this.#message.iterator();
    try {
      for (;;) {
        const { done, value } = await this.#next(chunks);
        if (done === true) return;
        this.#timer?.refresh();
        yield value;
      }
    } finally {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#message.destroy();
    }
  }

  /** Only errors of the connection are described as such. */
  async #next(chunks: NodeJS.AsyncIterator<Buffer>): Promise<IteratorResult<Buffer, void>> {
    try {
      return await chunks.next();
    } catch (error) {
      throw this.#describe(error);
    }
  }

  #watch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#message.destroy(new Silence()), this.#patienceMs);
  }
}
