/**
 * Keeps resident memory near what is needed. A start with thousands of peers, another listing of all of them, hours of
 * events that concern nobody: all leave garbage that the runtime would keep until memory is short, on a machine that is
 * there for others.
 */

import { sleep, type Timers } from "../base/timers.ts";

export interface Memory {
  /** What the process has of the machine's memory. */
  residentBytes(): number;
  /** Gives back what is not needed; may block for some 50 ms. */
  release(): void;
}

/** Until what the start left behind is cleared away. */
const SETTLED_MS = 1_000;
const LOOK_MS = 2_000;
/** Memory comes and goes by this much without being garbage: code that runs again, buffers of a burst. */
const GROWTH_BYTES = 16 * 1024 * 1024;

/** From the readiness of the host until aborted. */
export async function keepMemoryLow(memory: Memory, timers: Timers, signal: AbortSignal): Promise<void> {
  let waitMs = SETTLED_MS;
  let leanBytes = 0;
  while (!signal.aborted) {
    await sleep(timers, waitMs, signal);
    waitMs = LOOK_MS;
    const residentBytes = memory.residentBytes();
    if (residentBytes <= leanBytes + GROWTH_BYTES) {
      leanBytes = Math.min(leanBytes, residentBytes);
    } else if (!signal.aborted) {
      memory.release();
      // What is in use comes back at once, pages of the program above all: what there is next time is what it takes.
      leanBytes = Number.POSITIVE_INFINITY;
    }
  }
}
