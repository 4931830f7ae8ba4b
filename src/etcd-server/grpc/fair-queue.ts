/**
 * Runs requests in slices of time, in turn for each connection, so that the event loop stays free for other clients, and one
 * connection with hundreds of large requests does not hold up those of others.
 */

const SLICE_MS = 10;

export class FairQueue {
  readonly #waiting = new Map<object, (() => void)[]>();
  #sliceStartMs: number | undefined;

  /** Runs `task` now or in a later turn of the event loop, after the earlier ones of `owner`. */
  run(owner: object, task: () => void): void {
    if (this.#waiting.size === 0 && this.#hasTime()) {
      task();
      return;
    }
    const tasks = this.#waiting.get(owner);
    if (tasks === undefined) this.#waiting.set(owner, [task]);
    else tasks.push(task);
  }

  /** Starts a slice if none is running. */
  #hasTime(): boolean {
    if (this.#sliceStartMs !== undefined) return performance.now() - this.#sliceStartMs < SLICE_MS;
    this.#sliceStartMs = performance.now();
    setImmediate(() => {
      this.#sliceStartMs = undefined;
      if (this.#waiting.size > 0) this.#drain();
    });
    return true;
  }

  #drain(): void {
    while (this.#waiting.size > 0 && this.#hasTime()) {
      const [owner, tasks] = this.#waiting.entries().next().value!;
      this.#waiting.delete(owner);
      const task = tasks.shift()!;
      if (tasks.length > 0) this.#waiting.set(owner, tasks); // behind the others
      task();
    }
  }
}
