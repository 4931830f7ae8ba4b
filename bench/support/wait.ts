/** Waiting with an end: for promises, for conditions, and for the machine to come to rest. */

import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** Settles as `promise` does, or rejects once `deadlineMs` are over. */
export async function within<T>(deadlineMs: number, what: string, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not within ${deadlineMs} ms: ${what}`)), deadlineMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Looks every `intervalMs` until `condition` gives a value that is not undefined, and gives it back. */
export async function waitFor<T>(
  what: string,
  condition: () => T | undefined | Promise<T | undefined>,
  { deadlineMs = 10_000, intervalMs = 10 } = {},
): Promise<T> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined) return value;
    if (performance.now() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await delay(intervalMs);
  }
}

/** `value()` once it has stayed within ± `tolerance` for `stableMs`. */
export async function steady(
  what: string,
  value: () => number | Promise<number>,
  { tolerance = 0, stableMs, deadlineMs = 30_000 }: SteadyOptions,
): Promise<number> {
  let reference = await value();
  let sinceMs = performance.now();
  return waitFor(
    `${what} steady for ${stableMs} ms`,
    async () => {
      const now = await value();
      if (Math.abs(now - reference) > tolerance) {
        reference = now;
        sinceMs = performance.now();
      }
      return performance.now() - sinceMs >= stableMs ? now : undefined;
    },
    { deadlineMs, intervalMs: 50 },
  );
}

interface SteadyOptions {
  readonly tolerance?: number;
  readonly stableMs: number;
  readonly deadlineMs?: number;
}

const REST_SAMPLE_MS = 100;
const REST_DEADLINE_MS = 3_000;

/**
 * Waits until the processors are idle for 85 % of 100 ms, at most 3 s: what a turn leaves behind (the kernel takes
 * a namespace with thousands of entries apart in the background) is not to be paid by the next one.
 */
export async function rest(): Promise<void> {
  const endMs = performance.now() + REST_DEADLINE_MS;
  for (let before = processorTimes(); performance.now() < endMs; ) {
    await delay(REST_SAMPLE_MS);
    const now = processorTimes();
    if ((now.idle - before.idle) / (now.total - before.total) >= 0.85) return;
    before = now;
  }
}

/** All processors' time since boot in clock ticks (proc(5), /proc/stat). */
function processorTimes(): { readonly total: number; readonly idle: number } {
  const times = readFileSync("/proc/stat", "utf8")
    .split("\n")[0]!
    .trim()
    .split(/\s+/)
    .slice(1, 9)
    .map(Number);
  return { total: times.reduce((sum, time) => sum + time, 0), idle: times[3]! + times[4]! };
}
