/** Interrupted watches on the datastore and for how long: logged once, reported by probes while an outage lasts. */

import type { Timers } from "../base/timers.ts";

/** The outages of one process. */
export class Outages {
  readonly #timers: Timers;
  #count = 0;
  readonly #lost = new Map<string, { readonly sinceMs: number; readonly problem: string }>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Records why the watch on `what` ("the leases in etcd") is interrupted; undefined = it is restored. */
  note(what: string, problem: string | undefined): void {
    const sinceMs = this.#lost.get(what)?.sinceMs ?? this.#timers.nowMs();
    if (problem !== undefined && !this.#lost.has(what)) this.#count++;
    if (problem === undefined) this.#lost.delete(what);
    else this.#lost.set(what, { sinceMs, problem });
  }

  /** Outages since startup, those that last included. */
  get count(): number {
    return this.#count;
  }

  /** Outages that last. */
  get lasting(): number {
    return this.#lost.size;
  }

  /** "watch on the leases in etcd lost for 12 s; using the last known state: …" */
  get lines(): string[] {
    return [...this.#lost].map(([what, { sinceMs, problem }]) => {
      const seconds = Math.round((this.#timers.nowMs() - sinceMs) / 1000);
      return `watch on ${what} lost for ${seconds} s; using the last known state: ${problem}`;
    });
  }
}
