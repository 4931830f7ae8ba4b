/** A limit for log lines of which thousands may come at once. */

import type { Logger } from "../base/logger.ts";

/** Lines that are logged in so long. */
const LINES_AT_ONCE = 10;
const WINDOW_MS = 10_000;

/** Logs the first lines of a burst and counts the rest. */
export class LineLimit {
  readonly #logger: Logger;
  #startMs = 0;
  #count = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  warn(line: string, nowMs: number): void {
    if (this.#isWithin(nowMs)) this.#logger.warn(line);
  }

  info(line: string, nowMs: number): void {
    if (this.#isWithin(nowMs)) this.#logger.info(line);
  }

  /** Logs how many lines were left out, once the burst is over. */
  flush(nowMs: number): void {
    if (nowMs - this.#startMs < WINDOW_MS) return;
    const omitted = this.#count - LINES_AT_ONCE;
    this.#count = 0;
    if (omitted > 0) this.#logger.warn(`${omitted} more peers became unreachable or reachable again`);
  }

  #isWithin(nowMs: number): boolean {
    this.flush(nowMs);
    if (this.#count === 0) this.#startMs = nowMs;
    this.#count++;
    return this.#count <= LINES_AT_ONCE;
  }
}
