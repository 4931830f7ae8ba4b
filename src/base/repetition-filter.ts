/**
 * Which messages of a problem that lasts are logged (F20): each distinct one when it comes for the first time, and after
 * that the current one at growing intervals: 1 min, 2 min … 1 h. So a log shows how a problem began, when its nature
 * changed, and that it still lasts.
 */

import type { Timers } from "./timers.ts";

/** Distinct messages logged at once. Messages that vary without end (a port number in them) only come at the intervals. */
const MAX_DISTINCT = 10;
const FIRST_INTERVAL_MS = 60_000;
const MAX_INTERVAL_MS = 3_600_000;

export class RepetitionFilter {
  readonly #timers: Pick<Timers, "nowMs">;
  readonly #seen = new Set<string>();
  #intervalMs = FIRST_INTERVAL_MS;
  /** When the next message is logged, even one that was logged before. */
  #dueAtMs = 0;

  constructor(timers: Pick<Timers, "nowMs">) {
    this.#timers = timers;
  }

  /** Whether to log `message`, which has just come (again). */
  isDue(message: string): boolean {
    const nowMs = this.#timers.nowMs();
    const isFirst = this.#seen.size === 0;
    const isNew = !this.#seen.has(message) && this.#seen.size < MAX_DISTINCT;
    if (isNew) this.#seen.add(message);
    const isLate = !isFirst && nowMs >= this.#dueAtMs;
    if (isLate) this.#intervalMs = Math.min(MAX_INTERVAL_MS, this.#intervalMs * 2);
    if (isLate || isFirst) this.#dueAtMs = nowMs + this.#intervalMs;
    return isNew || isLate;
  }

  /** Forgets everything: the problem is over, and is logged at once when it comes again. */
  reset(): void {
    this.#seen.clear();
    this.#intervalMs = FIRST_INTERVAL_MS;
  }
}
