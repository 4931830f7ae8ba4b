/** Writes that are retried until they succeed, and writes that other programs undo repeatedly. */

import { messageOf, StoreError } from "../../base/error.ts";
import { backoff, retry } from "../../base/retry.ts";
import type { Timers } from "../../base/timers.ts";
import type { OutagePorts, RetryPauses } from "../outage.ts";

/** The first rounds are answered without a pause. */
export const FREE_ROUNDS = 3;
const FIRST_PAUSE_MS = 250;

/** Retries until it succeeds or `signal` is aborted. `what` is for the log: "write the annotations of node n1". */
export async function persist(
  what: string,
  run: () => Promise<void>,
  { retryMinMs, retryMaxMs }: RetryPauses,
  ports: OutagePorts,
  signal: AbortSignal,
): Promise<void> {
  await retry(
    {
      failure: `Failed to ${what}`,
      attempt: run,
      pauseMs: backoff(retryMinMs, retryMaxMs, ports.random),
      signal,
      level: "warn",
      describe(error) {
        if (!(error instanceof StoreError)) throw error;
        return messageOf(error);
      },
      recovered: `Recovered: flanneld could ${what}`,
    },
    ports,
  );
}

/** Rounds in which another program undoes what flanneld writes. */
export interface Contest {
  /** One more round: how many there were in a row, and how long to pause before answering. */
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
