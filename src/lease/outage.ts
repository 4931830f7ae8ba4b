/**
 * How a watch on a datastore lives through an outage, whatever the store: pauses that grow while it lasts, drawn by lot
 * so that thousands of hosts that lost the store in one moment do not come back in one moment; one line in the log when
 * it begins, one when it is over, and one for whatever an operator has to mend in between.
 */

import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { OnceFilter } from "../base/once-filter.ts";
import { backoff } from "../base/retry.ts";
import { sleep, type Timers } from "../base/timers.ts";

export interface OutagePorts {
  readonly logger: Logger;
  readonly timers: Timers;
  /** 0 ≤ random() < 1. */
  readonly random: () => number;
  /** Told what a watch lost and why, at each attempt, and with no problem once it is back. */
  readonly onOutage?: (what: string, problem: string | undefined) => void;
}

/** The shortest and the longest pause before another attempt. */
export interface RetryPauses {
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

export interface Outage {
  /** Tells the failure if it is news, and pauses. */
  pause(failure: unknown): Promise<void>;
  /** The watch is there (again). */
  over(): void;
}

/** `what` is for the log: "the leases in etcd". A watch that breaks again soon goes on with the long pauses. */
export function createOutage(
  what: string,
  pauses: RetryPauses,
  { logger, timers, random, onOutage }: OutagePorts,
  signal: AbortSignal,
): Outage {
  let brokenSinceMs: number | undefined;
  let watchingSinceMs = 0;
  let failures = 0;
  const messages = new OnceFilter();
  const pauseMs = backoff(pauses.retryMinMs, pauses.retryMaxMs, random);
  return {
    async pause(failure) {
      const nowMs = timers.nowMs();
      const message = messageOf(failure);
      const isNew = messages.isNew(message);
      if (brokenSinceMs === undefined) {
        brokenSinceMs = nowMs;
        if (nowMs - watchingSinceMs > pauses.retryMaxMs) failures = 0;
        logger.warn(`lost the watch on ${what}, trying again: ${message}`);
      } else if (!hasCode(failure, "UNAVAILABLE") && isNew) {
        logger.error(`no watch on ${what} yet, trying on: ${message}`);
      }
      onOutage?.(what, message);
      await sleep(timers, pauseMs(failures++), signal);
    },
    over() {
      if (brokenSinceMs === undefined) return;
      watchingSinceMs = timers.nowMs();
      const seconds = ((watchingSinceMs - brokenSinceMs) / 1000).toFixed(1);
      logger.info(`watching ${what} again after ${seconds} s`);
      brokenSinceMs = undefined;
      messages.reset();
      onOutage?.(what, undefined);
    },
  };
}
