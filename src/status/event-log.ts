/**
 * The latest events, numbered, in a ring of fixed size. Readers have a place in it instead of a queue of their own: one
 * that falls behind by the whole ring has lost events, and nothing grows.
 */

import type { StatusEvent } from "./api.ts";

const CAPACITY = 1_000;

/** The latest 1,000 events. `run` is part of their ids, so that a reader notices a restart. */
export class EventLog {
  /** Tells the numbers of one run from those of another. */
  readonly #run: string;
  readonly #capacity: number;
  readonly #frames: string[] = [];
  readonly #readers = new Set<() => void>();
  #next = 0;

  constructor(run: string, capacity = CAPACITY) {
    this.#run = run;
    this.#capacity = capacity;
  }

  /** Number of the next event. */
  get next(): number {
    return this.#next;
  }

  /** Number of the oldest event that is kept. */
  get first(): number {
    return Math.max(0, this.#next - this.#capacity);
  }

  record(event: StatusEvent): void {
    const number = this.#next++;
    const id = `${this.#run}-${number}`;
    this.#frames[number % this.#capacity] =
      `id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
    for (const wake of this.#readers) wake();
  }

  /** The event in the form of a server-sent event (HTML Standard, 9.2); undefined = not kept any more, or not yet. */
  frame(number: number): string | undefined {
    return number >= this.first && number < this.#next ? this.#frames[number % this.#capacity] : undefined;
  }

  /**
   * Where to continue after the event with this id; "0" = with the oldest event that is kept. `isGap`: events after it
   * are not kept any more, or it is of another run.
   */
  continueAfter(id: string): { readonly number: number; readonly isGap: boolean } {
    const [, run, text] = /^([0-9a-z]+)-(\d{1,15})$/.exec(id) ?? [];
    const number = Number(text) + 1;
    if (run === this.#run && number >= this.first && number <= this.#next) return { number, isGap: false };
    return { number: this.first, isGap: id !== "0" };
  }

  /** Calls `wake` after each new event, until the returned function is called. */
  subscribe(wake: () => void): () => void {
    this.#readers.add(wake);
    return () => this.#readers.delete(wake);
  }
}
