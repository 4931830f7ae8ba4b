/**
 * Objects of ours that another program replaced and that were restored. The first time at once; when the same
 * object is replaced again and again, pauses double from 100 ms to 30 s, so that two programs that claim one key do not
 * fight at full speed. After a minute without a conflict an object is forgotten.
 */

import type { Timers } from "../base/timers.ts";

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;
const PEACE_MS = 60_000;

interface Contest {
  readonly reclaimedAtMs: number;
  readonly pauseMs: number;
}

/** The contested objects by key, and when each may be repaired again. Times are monotonic milliseconds. */
export class Reclaims {
  readonly #timers: Timers;
  readonly #wake: () => void;
  readonly #contests = new Map<string, Contest>();

  /** `wake` is called when a postponed reclaim is due. */
  constructor(timers: Timers, wake: () => void) {
    this.#timers = timers;
    this.#wake = wake;
  }

  /** Records that the object of this key was restored now. */
  note(key: string): void {
    const nowMs = this.#timers.nowMs();
    const before = this.#contests.get(key);
    for (const [other, contest] of this.#contests) if (isOver(contest, nowMs)) this.#contests.delete(other);
    const pauseMs =
      before === undefined || isOver(before, nowMs)
        ? FIRST_PAUSE_MS
        : Math.min(LONGEST_PAUSE_MS, before.pauseMs * 2);
    this.#contests.set(key, { reclaimedAtMs: nowMs, pauseMs });
  }

  /** Milliseconds until the object may be put back again; 0 = now. If it is later, a wake-up is arranged. */
  waitMs(key: string): number {
    const contest = this.#contests.get(key);
    if (contest === undefined) return 0;
    const waitMs = contest.reclaimedAtMs + contest.pauseMs - this.#timers.nowMs();
    if (waitMs <= 0) return 0;
    this.#timers.after(Math.ceil(waitMs), this.#wake);
    return waitMs;
  }
}

const isOver = ({ reclaimedAtMs, pauseMs }: Contest, nowMs: number): boolean =>
  nowMs - reclaimedAtMs > Math.max(PEACE_MS, 2 * pauseMs);
