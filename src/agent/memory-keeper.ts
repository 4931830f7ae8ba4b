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
  /** The same, less thorough and in less than half the time. */
  trim(): void;
  /** Unmaps the pages of the program, which come back as they are used, and returns free pages; takes some 3 ms. */
  unmap(): void;
}

/** Delay before the garbage of the start is collected. */
const SETTLED_MS = 1_000;
const LOOK_MS = 2_000;
/** Memory fluctuates by this much without being garbage: code that runs again, buffers of a burst. */
const GROWTH_BYTES = 16 * 1024 * 1024;

/** Code that ran once, for an answer of the status server, say, stays mapped: growth by this much is worth unmapping it. */
const PROGRAM_GROWTH_BYTES = 3 * 1024 * 1024;
/** Less growth between two looks: the work that needed the code is over, and unmapping it then lasts. */
const QUIET_BYTES = 1024 * 1024;
/** Where code runs all the time, unmapping it would only cost. */
const UNMAP_INTERVAL_MS = 10_000;

/** A start with thousands of leases is trimmed above this: a container's limit counts the peak. One with a few stays below. */
const START_LIMIT_BYTES = 64 * 1024 * 1024;
/** So much has to come up again before the next trim: what is left then is in use. */
const TRIM_EVERY_BYTES = 48 * 1024 * 1024;

/** Trims memory when it has grown too much; to be called at points of a long start where a pause of 20 ms does no harm. */
export function createStartLimit(memory: Memory): () => void {
  let limitBytes = START_LIMIT_BYTES;
  return () => {
    if (memory.residentBytes() <= limitBytes) return;
    memory.trim();
    limitBytes = Math.max(START_LIMIT_BYTES, memory.residentBytes() + TRIM_EVERY_BYTES);
  };
}

/** From the readiness of the host until aborted. */
export async function keepMemoryLow(memory: Memory, timers: Timers, signal: AbortSignal): Promise<void> {
  let waitMs = SETTLED_MS;
  let leanBytes = 0;
  let settledBytes = Number.POSITIVE_INFINITY;
  let previousBytes = 0;
  let nextUnmapMs = 0;
  while (!signal.aborted) {
    await sleep(timers, waitMs, signal);
    if (signal.aborted) return;
    waitMs = LOOK_MS;
    const residentBytes = memory.residentBytes();
    // Pages in use, above all the program's, are faulted in again at once: the next reading is the new baseline.
    if (residentBytes > leanBytes + GROWTH_BYTES) {
      memory.release();
      leanBytes = Number.POSITIVE_INFINITY;
      settledBytes = Number.POSITIVE_INFINITY;
      continue;
    }
    leanBytes = Math.min(leanBytes, residentBytes);
    const isQuiet = residentBytes < previousBytes + QUIET_BYTES;
    previousBytes = residentBytes;
    const hasGrown = residentBytes > settledBytes + PROGRAM_GROWTH_BYTES;
    if (hasGrown && isQuiet && timers.nowMs() >= nextUnmapMs) {
      memory.unmap();
      settledBytes = Number.POSITIVE_INFINITY;
      nextUnmapMs = timers.nowMs() + UNMAP_INTERVAL_MS;
    } else settledBytes = Math.min(settledBytes, residentBytes);
  }
}
