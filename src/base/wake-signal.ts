/**
 * Waits until signalled, timed out or aborted, whichever comes first: the idle state of every loop that works on
 * demand and on a timer.
 *
 * Level-triggered: a wake-up that arrives while no caller waits ends the next wait at once, so that none is lost, and any
 * number of them count as one.
 */

import type { Timers } from "./timers.ts";

/** Why a wait ended. */
export type WakeReason = "woken" | "timeout" | "aborted";

export type WaitOptions = {
  /** Ends the wait; an aborted signal does so at once. */
  readonly signal?: AbortSignal;
} & (
  | { readonly timers?: undefined; readonly timeoutMs?: undefined }
  /** Longest wait in ms; undefined or Infinity = no limit; 0 or less = only asks for a pending wake-up. */
  | { readonly timers: Timers; readonly timeoutMs: number | undefined }
);

/**
 * For one loop, or for several that check their condition synchronously before each wait: `wake` ends all waits under
 * way, and is kept for the next one only if there was none.
 */
export class WakeSignal {
  readonly #waiters = new Set<() => void>();
  #isPending = false;

  /** Ends the waits under way, or else the next one. */
  wake(): void {
    this.#isPending = this.#waiters.size === 0;
    for (const finish of this.#waiters) finish();
  }

  /** Never rejects, and leaves neither a timer nor a listener behind. If aborted, a pending wake-up stays pending. */
  wait({ timers, timeoutMs, signal }: WaitOptions = {}): Promise<WakeReason> {
    if (signal?.aborted) return Promise.resolve("aborted");
    if (this.#isPending) {
      this.#isPending = false;
      return Promise.resolve("woken");
    }
    const limitMs = timeoutMs ?? Number.POSITIVE_INFINITY;
    if (limitMs <= 0) return Promise.resolve("timeout");
    return new Promise((resolve) => {
      const finish = (reason: WakeReason) => {
        cancelTimer?.();
        signal?.removeEventListener("abort", onAbort);
        this.#waiters.delete(onWake);
        resolve(reason);
      };
      const onWake = () => finish("woken");
      const onAbort = () => finish("aborted");
      const isLimited = limitMs !== Number.POSITIVE_INFINITY;
      const cancelTimer = isLimited ? timers?.after(limitMs, () => finish("timeout")) : undefined;
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(onWake);
    });
  }
}
