/** What has to be done in the end, whatever the API server says meanwhile, and what others undo again and again. */

import { messageOf, StoreError } from "../../base/error.ts";
import { sleep, type Timers } from "../../base/timers.ts";
import { drawPauseMs, type OutagePorts, type RetryPauses } from "../outage.ts";

/** The first so many answers are at once. */
export const FREE_ROUNDS = 3;
const FIRST_PAUSE_MS = 250;

/** Tries until it succeeds or `signal` is aborted. `what` is for the log: "write the annotations of node n1". */
export async function persist(
  what: string,
  run: () => Promise<void>,
  pauses: RetryPauses,
  { logger, timers, random }: OutagePorts,
  signal: AbortSignal,
): Promise<void> {
  const told = new Set<string>();
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      await run();
      if (failures > 0) logger.info(`At last flanneld could ${what}`);
      return;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (signal.aborted) return;
      const problem = messageOf(error);
      if (!told.has(problem)) logger.warn(`flanneld cannot ${what}, trying on: ${problem}`);
      told.add(problem);
      await sleep(timers, drawPauseMs(pauses, failures, random), signal);
    }
  }
}

/** Rounds in which others undo what flanneld does. */
export interface Contest {
  /** One more round: how many there were in a row, and how long to hold still before answering. */
  next(): { readonly round: number; readonly pauseMs: number };
}

/** Two programs that correct each other must not keep an API server busy: pauses grow up to `maxMs`; after a calm they are short again. */
export function createContest(maxMs: number, timers: Timers): Contest {
  let round = 0;
  let lastMs = Number.NEGATIVE_INFINITY;
  return {
    next() {
      const nowMs = timers.nowMs();
      round = nowMs - lastMs > 2 * maxMs ? 1 : round + 1;
      const pauseMs =
        round <= FREE_ROUNDS ? 0 : Math.min(maxMs, FIRST_PAUSE_MS * 2 ** (round - FREE_ROUNDS - 1));
      lastMs = nowMs + pauseMs;
      return { round, pauseMs };
    },
  };
}
