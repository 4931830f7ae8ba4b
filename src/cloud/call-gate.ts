/**
 * When the API may be called again after a failure: pauses that double from 1 s to 60 s, at random so that a hundred hosts
 * refused in one moment do not come back in one moment, and never sooner than the server asked for.
 */

import { backoff } from "../base/retry.ts";
import type { Timers } from "../base/timers.ts";
import type { CloudError } from "./cloud.ts";

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** Longest wait that a server's word is taken for. */
const LONGEST_RETRY_AFTER_MS = 600_000;

export class CallGate {
  readonly #timers: Pick<Timers, "nowMs">;
  readonly #pause: (failures: number) => number;
  readonly #random: () => number;
  #failures = 0;
  #opensAtMs = Number.NEGATIVE_INFINITY;
  #error: CloudError | undefined;

  /** 0 ≤ random() < 1. */
  constructor(timers: Pick<Timers, "nowMs">, random: () => number) {
    this.#timers = timers;
    this.#random = random;
    this.#pause = backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS, random);
  }

  /** Milliseconds until the next call; 0 = now. */
  get waitMs(): number {
    return Math.max(0, this.#opensAtMs - this.#timers.nowMs());
  }

  /** Why the last call failed; undefined = it did not. */
  get error(): CloudError | undefined {
    return this.#error;
  }

  fail(error: CloudError): void {
    const askedMs = Math.min(LONGEST_RETRY_AFTER_MS, error.retryAfterMs ?? 0) * (1 + this.#random() / 4);
    this.#opensAtMs = this.#timers.nowMs() + Math.max(askedMs, this.#pause(this.#failures++));
    this.#error = error;
  }

  succeed(): void {
    this.#failures = 0;
    this.#opensAtMs = Number.NEGATIVE_INFINITY;
    this.#error = undefined;
  }
}
