/** The clock as a port, so that what waits can be tested without waiting. */
export interface Timers {
  /** Monotonic milliseconds since some fixed moment. */
  nowMs(): number;
  /** Calls `callback` once after `delayMs`; the returned function calls it off. */
  after(delayMs: number, callback: () => void): () => void;
}

/** The process's own clock. */
export const systemTimers: Timers = {
  nowMs: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/**
 * Calls `turn`, and again after as many milliseconds as it returned, until aborted. Rejects with what it throws. For what runs
 * for ever: a turn costs one timer, no promise and no listener.
 */
export function repeat(timers: Timers, turn: () => number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return resolve();
    let cancel = (): void => {};
    const abort = (): void => {
      cancel();
      resolve();
    };
    const next = (): void => {
      try {
        const delayMs = turn();
        if (!signal.aborted) cancel = timers.after(delayMs, next);
      } catch (error) {
        signal.removeEventListener("abort", abort);
        reject(error);
      }
    };
    signal.addEventListener("abort", abort, { once: true });
    next();
  });
}

/** Resolves after `delayMs`, or at once when aborted. */
export function sleep(timers: Timers, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const finish = () => {
      cancel();
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const cancel = timers.after(delayMs, finish);
    signal?.addEventListener("abort", finish, { once: true });
  });
}
