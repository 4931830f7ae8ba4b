/**
 * Keeps the node's packet filter equal to the cluster's policies: compiles what is known when it has changed, and has the result
 * programmed. Changes that come while a pass is under way are one more pass. Nothing is programmed before everything is known:
 * what an earlier flanneld has left in the kernel stays in effect until then.
 */

import { FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { RepetitionFilter } from "../base/repetition-filter.ts";
import type { Timers } from "../base/timers.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import type { DesiredFilter } from "../policy/model.ts";

/** What the keeper needs. */
export interface PolicyKeeperParts {
  /** The filter by what is known now; undefined = not everything is known. */
  readonly compile: () => DesiredFilter | undefined;
  /** Programs it; resolves when it is in the kernel. Rejects with FlannelError. */
  readonly apply: (filter: DesiredFilter) => Promise<void>;
  /** Called with why the policies are not in effect, and undefined once they are. */
  readonly onProblem: (problem: string | undefined) => void;
  readonly logger: Logger;
  readonly timers: Timers;
}

/** Pause after a failure. */
const RETRY_MS = 1_000;
/** Longest pause after a pass that no pod waited for; it is as long as the pass was. */
const MAX_PAUSE_MS = 50;

/** One loop of passes. */
export class PolicyKeeper {
  readonly #parts: PolicyKeeperParts;
  readonly #wake = new WakeSignal();
  /** A pod waits. */
  readonly #urgent = new WakeSignal();
  readonly #repetitions: RepetitionFilter;
  /** Those who wait for a pass that has not begun yet. */
  #waiting: ((problem: string | undefined) => void)[] = [];
  #applied: DesiredFilter | undefined;
  #problem: string | undefined = "pods and policies of the cluster not received yet";
  #passes = 0;

  constructor(parts: PolicyKeeperParts) {
    this.#parts = parts;
    this.#repetitions = new RepetitionFilter(parts.timers);
  }

  /** What is in the kernel; undefined = nothing of this run yet. */
  get applied(): DesiredFilter | undefined {
    return this.#applied;
  }

  /** Why the policies are not in effect, or not all of them. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Passes that changed the filter. */
  get passes(): number {
    return this.#passes;
  }

  /** Something has changed. */
  change(): void {
    this.#wake.wake();
  }

  /** The kernel may have changed: it is programmed again although the filter is the same. */
  recheck(): void {
    this.#applied = undefined;
    this.#wake.wake();
  }

  /** Resolves when what is known at this moment is in the kernel, with undefined, or when that failed, with the problem. */
  program(signal: AbortSignal): Promise<string | undefined> {
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.#waiting.push(resolve);
    signal.addEventListener("abort", () => resolve("flanneld is stopping"), { once: true });
    this.#wake.wake();
    this.#urgent.wake();
    return promise;
  }

  /** Until aborted; what is in the kernel stays. */
  async run(signal: AbortSignal): Promise<void> {
    const { timers, onProblem } = this.#parts;
    onProblem(this.#problem);
    while (!signal.aborted) {
      const timeoutMs = this.#problem === undefined ? undefined : RETRY_MS;
      await this.#wake.wait({ signal, timers, timeoutMs });
      if (signal.aborted) break;
      const startMs = timers.nowMs();
      await this.#pass();
      // Changes of the cluster leave room for pods that start: those wait for a pass under way, and then for their own.
      const pauseMs = Math.min(MAX_PAUSE_MS, timers.nowMs() - startMs);
      if (this.#waiting.length === 0) await this.#urgent.wait({ timers, timeoutMs: pauseMs, signal });
    }
    for (const resolve of this.#waiting.splice(0)) resolve("flanneld is stopping");
  }

  async #pass(): Promise<void> {
    const { compile, apply, onProblem, logger } = this.#parts;
    const waiting = this.#waiting.splice(0);
    let problem: string | undefined;
    try {
      const filter = compile();
      if (filter === undefined) {
        this.#waiting.unshift(...waiting);
        return;
      }
      if (filter !== this.#applied) {
        await apply(filter);
        this.#applied = filter;
        this.#passes++;
      }
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      problem = messageOf(error);
      this.#applied = undefined; // perhaps half of it
      if (this.#repetitions.isDue(problem))
        logger.error(`Failed to program network policies; retrying: ${problem}`);
    }
    if (problem === undefined && this.#problem !== undefined) {
      logger.info("Network policies are in effect");
      this.#repetitions.reset();
    }
    if (problem !== this.#problem) {
      this.#problem = problem;
      onProblem(problem);
    }
    for (const resolve of waiting) resolve(problem);
  }
}
