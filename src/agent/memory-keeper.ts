/**
 * Keeps resident memory near what is needed. A start with thousands of peers, another listing of all of them, and hours of
 * events leave garbage that the runtime would keep until memory is short, on a host that runs other workloads.
 */

import { sleep, type Timers } from "../base/timers.ts";

export interface Memory {
  /** Resident set size of the process. */
  residentBytes(): number;
  /** Collects garbage and returns free pages to the kernel; may block for some 50 ms. */
  release(): void;
}

/** Delay before the garbage of the start is collected. */
const SETTLED_MS = 1_000;
const LOOK_MS = 2_000;
/** Memory fluctuates by this much without being garbage: code that runs again, buffers of a burst. */
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
      // Pages in use, above all the program's, are faulted in again at once: the next reading is the new baseline.
      leanBytes = Number.POSITIVE_INFINITY;
    }
  }
}
