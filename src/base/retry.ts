/**
 * The loop that every part of flanneld uses against what can pass by itself: attempts until one succeeds or the signal
 * is aborted, with a pause after each failure. Each distinct problem is logged once, and one that lasts at growing intervals
 * (see repetition-filter.ts).
 */

import { messageOf } from "./error.ts";
import type { Logger } from "./logger.ts";
import { RepetitionFilter } from "./repetition-filter.ts";
import { sleep, type Timers } from "./timers.ts";

/** The pause after a failed attempt, in ms; `failures` = how many attempts failed before it, from 0. */
export type RetryPause = (failures: number) => number;

export interface RetryPorts {
  readonly logger: Logger;
  readonly timers: Timers;
}

export interface RetryOptions<T> {
  /** What fails, as the log line begins: "Failed to acquire lease". "; retrying: <problem>" follows. */
  readonly failure: string;
  readonly attempt: () => Promise<T>;
  /** A fixed pause in ms, or one that grows, as {@link backoff} makes it. */
  readonly pauseMs: number | RetryPause;
  readonly signal: AbortSignal;
  /** `error` if an operator must act, else `warn`. Default `error`. */
  readonly level?: "error" | "warn";
  /** The problem in an operator's words; default: the error's message. Throws to give up: then so does {@link retry}. */
  readonly describe?: (error: unknown) => string;
  /** Called with the problem after each failed attempt, and with undefined after the one that succeeded. For readiness. */
  readonly onProblem?: (problem: string | undefined) => void;
  /** Logged as info if the attempt that succeeded was not the first. */
  readonly recovered?: string;
}

/**
 * The result of the first attempt that succeeds; undefined if aborted before. An attempt that fails after the abort is
 * not reported. Throws only what `describe` throws.
 */
export async function retry<T>(options: RetryOptions<T>, ports: RetryPorts): Promise<T | undefined> {
  const { failure, attempt, pauseMs, signal, level = "error", describe = messageOf } = options;
  const problems = new RepetitionFilter(ports.timers);
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      const result = await attempt();
      if (failures > 0 && options.recovered !== undefined) ports.logger.info(options.recovered);
      options.onProblem?.(undefined);
      return result;
    } catch (error) {
      if (signal.aborted) return undefined;
      const problem = describe(error);
      if (problems.isDue(problem)) ports.logger[level](`${failure}; retrying: ${problem}`);
      options.onProblem?.(problem);
      await sleep(ports.timers, typeof pauseMs === "number" ? pauseMs : pauseMs(failures), signal);
    }
  }
  return undefined;
}

/**
 * Pauses drawn at random between half of a time that doubles with each failure, up to `maxMs`, and all of it: thousands
 * of hosts that lost the datastore in one moment do not come back in one moment. 0 ≤ random() < 1.
 */
export const backoff =
  (minMs: number, maxMs: number, random: () => number): RetryPause =>
  (failures) =>
    Math.min(maxMs, minMs * 2 ** failures) * (0.5 + random() / 2);
