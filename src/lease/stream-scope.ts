/** What the watches of all datastores share. */

import { StoreError } from "../base/error.ts";

/** Ends a stream or poll when the block that opened it is left. */
export class StreamScope implements Disposable {
  readonly #controller = new AbortController();
  readonly signal: AbortSignal;
  constructor(outer: AbortSignal) {
    this.signal = AbortSignal.any([outer, this.#controller.signal]);
  }
  [Symbol.dispose](): void {
    this.#controller.abort();
  }
}

/** The watch cannot continue from its position: everything has to be read again. */
export const startOver = (message: string): StoreError => new StoreError("COMPACTED", message);
