/**
 * The pauses and log lines of a watch on a datastore during an outage, the same for every store. Pauses grow and are drawn
 * at random, so that thousands of hosts that lost the store in one moment do not come back in one moment. The log has one
 * line when the outage begins, one when its nature changes, one at growing intervals while it lasts, and one when it is
 * over (F20).
 */

import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { RepetitionFilter } from "../base/repetition-filter.ts";
import { backoff } from "../base/retry.ts";
import { sleep, type Timers } from "../base/timers.ts";

/** What the retry loop of a watch needs of the process. */
export interface OutagePorts {
  readonly logger: Logger;
  readonly timers: Timers;
  /** 0 ≤ random() < 1. */
  readonly random: () => number;
  /** Called after each failed attempt with what the watch is on and why it failed, and without a problem once it is restored. */
  readonly onOutage?: (what: string, problem: string | undefined) => void;
}

/** The shortest and the longest pause before another attempt, in ms. */
export interface RetryPauses {
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/** One watch's loop of failures: `pause` after each, `over` after a success. */
export interface Outage {
  /** Logs the failure if it is due, and pauses. */
  pause(failure: unknown): Promise<void>;
  /** The watch works (again). */
  over(): void;
}

/** `what` is for the log: "the leases in etcd". A watch that breaks again soon continues with the long pauses. */
export function createOutage(
  what: string,
  pauses: RetryPauses,
  { logger, timers, random, onOutage }: OutagePorts,
  signal: AbortSignal,
): Outage {
  let brokenSinceMs: number | undefined;
  let watchingSinceMs = 0;
  let failures = 0;
  const natures = new RepetitionFilter(timers);
  const pauseMs = backoff(pauses.retryMinMs, pauses.retryMaxMs, random);
  return {
    async pause(failure) {
      const nowMs = timers.nowMs();
      const message = messageOf(failure);
      // However a store is unreachable is one nature: "does not answer" and "connection refused" may alternate.
      const isUnreachable = hasCode(failure, "UNAVAILABLE");
      const isDue = natures.isDue(isUnreachable ? "UNAVAILABLE" : message);
      if (brokenSinceMs === undefined) {
        brokenSinceMs = nowMs;
        if (nowMs - watchingSinceMs > pauses.retryMaxMs) failures = 0;
        logger.warn(`Watch on ${what} lost; retrying: ${message}`);
      } else if (isDue) {
        const seconds = Math.round((nowMs - brokenSinceMs) / 1000);
        logger[isUnreachable ? "warn" : "error"](
          `Watch on ${what} lost for ${seconds} s; retrying: ${message}`,
        );
      }
      onOutage?.(what, message);
      await sleep(timers, pauseMs(failures++), signal);
    },
    over() {
      if (brokenSinceMs === undefined) return;
      watchingSinceMs = timers.nowMs();
      const seconds = ((watchingSinceMs - brokenSinceMs) / 1000).toFixed(1);
      logger.info(`Watch on ${what} restored after ${seconds} s`);
      brokenSinceMs = undefined;
      natures.reset();
      onOutage?.(what, undefined);
    },
  };
}
