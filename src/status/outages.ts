/** What watches on the datastore have lost, and for how long: the log told it once, probes tell it as long as it lasts. */

import type { Timers } from "../base/timers.ts";

export class Outages {
  readonly #timers: Timers;
  readonly #lost = new Map<string, { readonly sinceMs: number; readonly problem: string }>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Takes note of why `what` cannot be watched; undefined = it is watched again. */
  note(what: string, problem: string | undefined): void {
    const sinceMs = this.#lost.get(what)?.sinceMs ?? this.#timers.nowMs();
    if (problem === undefined) this.#lost.delete(what);
    else this.#lost.set(what, { sinceMs, problem });
  }

  /** "no watch on the leases in etcd for 12 s, going on with what is known: …" */
  get lines(): string[] {
    return [...this.#lost].map(([what, { sinceMs, problem }]) => {
      const seconds = Math.round((this.#timers.nowMs() - sinceMs) / 1000);
      return `no watch on ${what} for ${seconds} s, going on with what is known: ${problem}`;
    });
  }
}
