/**
 * Operations that run beside the reconciler, for providers that wait for other programs: a pass waits for them a moment, what
 * takes longer goes on, and its end is a notice. The next pass then takes its outcome.
 */

import { FlannelError } from "../base/error.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import { keyOf, type StateChange, type StateObject, type StateOperation, sameObject } from "./objects.ts";
import type { Notice } from "./provider.ts";

/** What the jobs do, and how long a pass waits for them. */
export interface BackgroundJobsOptions {
  /** Does it. Rejects with FlannelError. */
  readonly run: (operation: StateOperation) => Promise<void>;
  readonly timers: Timers;
  /** How long a pass waits, in milliseconds. */
  readonly patienceMs: number;
  /** The reason why an operation is not done, while it runs. */
  readonly unfinished: string;
  /** Whether the end of this object's jobs is a notice however soon it comes, because others wait for it. */
  readonly isAwaitedByOthers?: (object: StateObject) => boolean;
  /** Called when a job has ended. */
  readonly onEnd?: () => void;
}

interface Job {
  readonly operation: StateOperation;
  isDone: boolean;
  error: FlannelError | undefined;
  /** Whether a pass waits for it. */
  isAwaited: boolean;
}

/** At most one job at a time for each object. */
export class BackgroundJobs {
  readonly #options: BackgroundJobsOptions;
  /** By key: the jobs that run, and those that ended after their pass. */
  readonly #jobs = new Map<string, Job>();
  readonly #news: StateChange[] = [];
  readonly #wake = new WakeSignal();

  constructor(options: BackgroundJobsOptions) {
    this.#options = options;
  }

  /** The operations that run now. */
  get running(): StateOperation[] {
    return [...this.#jobs.values()].filter(({ isDone }) => !isDone).map(({ operation }) => operation);
  }

  /** Begins them; one result each, undefined = done, EAGAIN = it still runs. */
  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const results = new Array<FlannelError | undefined>(operations.length).fill(undefined);
    const begun: { readonly job: Job; readonly position: number; readonly end: Promise<void> }[] = [];
    for (const [position, operation] of operations.entries()) {
      const key = keyOf(operation.object);
      const before = this.#jobs.get(key);
      if (before?.isDone === false) {
        results[position] = this.#unfinished();
      } else if (before?.error !== undefined && isSameOperation(before.operation, operation)) {
        this.#jobs.delete(key);
        results[position] = before.error;
      } else {
        const job: Job = { operation, isDone: false, error: undefined, isAwaited: true };
        this.#jobs.set(key, job);
        begun.push({ job, position, end: this.#work(job) });
      }
    }
    if (begun.length === 0) return results;
    const isOver = new AbortController();
    const end = Promise.all(begun.map((each) => each.end)).then(() => isOver.abort());
    await Promise.race([end, sleep(this.#options.timers, this.#options.patienceMs, isOver.signal)]);
    isOver.abort();
    for (const { job, position } of begun) {
      job.isAwaited = false;
      if (job.isDone) this.#jobs.delete(keyOf(job.operation.object));
      results[position] = job.isDone ? job.error : this.#unfinished();
    }
    return results;
  }

  /** Adds changes that the provider noticed to the notices. */
  report(...changes: readonly StateChange[]): void {
    this.#news.push(...changes);
    this.#wake.wake();
  }

  /** A notice for the jobs that ended after their pass, and for what was reported; until aborted. */
  async *watch(signal: AbortSignal): AsyncGenerator<Notice> {
    while ((await this.#wake.wait({ signal })) === "woken") yield this.#news.splice(0);
  }

  /** Never rejects. */
  async #work(job: Job): Promise<void> {
    const { operation } = job;
    try {
      await this.#options.run(operation);
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      job.error = error;
    }
    job.isDone = true;
    this.#options.onEnd?.();
    if (!job.isAwaited || this.#options.isAwaitedByOthers?.(operation.object))
      this.report({ action: "touched", object: operation.object });
  }

  #unfinished(): FlannelError {
    return new FlannelError("EAGAIN", this.#options.unfinished);
  }
}

const isSameOperation = (a: StateOperation, b: StateOperation): boolean =>
  a.action === b.action && sameObject(a.object, b.object);
