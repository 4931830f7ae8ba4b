/** A clock that stands still until it is advanced, for tests of code that waits. */

import type { Timers } from "../base/timers.ts";

export class FakeTimers implements Timers {
  readonly #waiting: { readonly atMs: number; readonly callback: () => void }[] = [];
  #nowMs = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#waiting.push(timer);
    return () => {
      const index = this.#waiting.indexOf(timer);
      if (index >= 0) this.#waiting.splice(index, 1);
    };
  }

  /** Milliseconds until the next callback; undefined if none is pending. */
  get nextMs(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : next.atMs - this.#nowMs;
  }

  /** Advances by `ms`: due callbacks run in order, each with everything that it triggers before the next. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (let next = this.#next(); next !== undefined && next.atMs <= endMs; next = this.#next()) {
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      this.#waiting.splice(this.#waiting.indexOf(next), 1);
      next.callback();
      await settle();
    }
    this.#nowMs = endMs;
  }

  #next() {
    let next = this.#waiting[0];
    for (const timer of this.#waiting) if (timer.atMs < next!.atMs) next = timer;
    return next;
  }
}

/** Runs everything that waits only for its turn of the event loop. */
export async function settle(turns = 10): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
}
