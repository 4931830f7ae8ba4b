/**
 * The one engine that makes the kernel equal to the desired state and keeps it so.
 *
 * It holds a model of what the kernel has. A pass looks again at the kinds that are in doubt, compares the model with
 * the desired state and applies the difference in one batch. It runs when the desired state changes, when a kernel
 * notice does not fit the model (somebody else changed something; or notices were lost), when a failed operation is
 * due again, and every `resyncIntervalMs` with everything in doubt. Notices never change the model: they only say
 * “look again”, so that a lost, late or repeated one costs nothing.
 */

import { FlannelError, hasCode, isNotFound, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { diffStates } from "./diff.ts";
import { FailureBook } from "./failures.ts";
import type { Kernel, KernelNotice, Operation } from "./kernel.ts";
import { KernelModel } from "./model.ts";
import { describeObject, keyOf } from "./objects.ts";
import { sameOwnership, sameTarget, type Target } from "./target.ts";

export interface ReconcilerStatus {
  /** Whether the last pass left nothing to do. */
  readonly converged: boolean;
  /** What stands in the way, one line each. */
  readonly problems: readonly string[];
  readonly passes: number;
  /** Operations made because something else had changed what is ours. */
  readonly repairs: number;
}

/** What was put right because something else had changed it. */
export interface Repair {
  readonly operations: readonly Operation[];
  /** From the first notice of it, or the start of the look that found it, until it was done. */
  readonly tookMs: number;
  /** Port id of the netlink socket through which the thing of this key ({@link keyOf}) was changed, where known. */
  readonly portIds: ReadonlyMap<string, number>;
}

export interface ReconcilerOptions {
  readonly kernel: Kernel;
  readonly logger: Logger;
  readonly timers: Timers;
  /** How often everything is looked at again though nothing seems to have happened. */
  readonly resyncIntervalMs: number;
  /** Called after each pass: `status` may have changed. */
  readonly onPass?: () => void;
  /** Called after each pass that repaired something; without it a repair is a line in the log. */
  readonly onRepair?: (repair: Repair) => void;
}

const POSTPONED_MS = 1000;
/** Answers that mean that the model, not the request, was wrong. */
const STALE_CODES = ["EEXIST", "ENOENT", "ESRCH", "ENODEV", "ENOBUFS", "EADDRNOTAVAIL", "ENETUNREACH"];

export class Reconciler {
  readonly #kernel: Kernel;
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #resyncIntervalMs: number;
  readonly #onPass: () => void;
  readonly #onRepair: ((repair: Repair) => void) | undefined;
  readonly #model = new KernelModel();
  readonly #failures: FailureBook;
  readonly #reported = new Set<string>();
  #target: Target | undefined;
  #handledTarget: Target | undefined;
  #obstacles: readonly string[] = [];
  #kernelError: string | undefined;
  #passes = 0;
  #repairs = 0;
  /** What was reported since the last pass began, and when first. */
  #news: { readonly atMs: number; readonly portIds: Map<string, number> } | undefined;
  #wake: (() => void) | undefined;
  #isAwake = false;
  #passWaiters: (() => void)[] = [];

  constructor(options: ReconcilerOptions) {
    this.#kernel = options.kernel;
    this.#logger = options.logger;
    this.#timers = options.timers;
    this.#failures = new FailureBook(options.timers, () => this.#rouse());
    this.#resyncIntervalMs = options.resyncIntervalMs;
    this.#onPass = options.onPass ?? (() => {});
    this.#onRepair = options.onRepair;
  }

  /** Sets what to hold from now on. */
  setTarget(target: Target): void {
    if (this.#target !== undefined && !sameOwnership(this.#target.ownership, target.ownership))
      this.#model.doubtAll();
    this.#target = target;
    this.#rouse();
  }

  /** Resolves once a pass has left nothing to do, or when aborted. */
  async whenConverged(signal: AbortSignal): Promise<void> {
    while (!this.status.converged && !signal.aborted) {
      await new Promise<void>((resolve) => this.#passWaiters.push(resolve));
    }
  }

  /** Looks at everything again soon. */
  lookAgain(): void {
    this.#model.doubtAll();
    this.#rouse();
  }

  get status(): ReconcilerStatus {
    const problems = [...this.#obstacles, ...this.#failures.messages];
    if (this.#kernelError !== undefined) problems.push(this.#kernelError);
    const isHandled = this.#target !== undefined && this.#target === this.#handledTarget;
    return {
      converged: isHandled && problems.length === 0,
      problems,
      passes: this.#passes,
      repairs: this.#repairs,
    };
  }

  /** Works until aborted; then returns with the kernel left as it is. */
  async run(signal: AbortSignal): Promise<void> {
    const stopWaiting = () => this.#rouse();
    signal.addEventListener("abort", stopWaiting);
    let watching: Promise<void> | undefined;
    try {
      while (!signal.aborted) {
        await this.#waitForWork();
        if (signal.aborted || this.#target === undefined) continue;
        const target = this.#target;
        try {
          await this.#pass(target);
          this.#kernelError = undefined;
          this.#handledTarget = target;
        } catch (error) {
          if (!(error instanceof FlannelError)) throw error;
          this.#postpone(error);
        }
        if (watching === undefined && (!target.keepOthers || this.status.problems.length > 0)) {
          // Only now: thousands of notices about our own first pass would say nothing new, but whatever stands in its
          // way may be cleared away. What happened between that pass and the subscription is found by looking again.
          watching = this.#watch(signal);
          this.lookAgain();
        }
        this.#releasePassWaiters();
        this.#onPass();
      }
    } finally {
      signal.removeEventListener("abort", stopWaiting);
      this.#releasePassWaiters();
      await watching;
    }
  }

  async #pass(target: Target): Promise<void> {
    const startedMs = this.#timers.nowMs();
    const news = this.#news;
    this.#news = undefined;
    this.#passes++;
    await this.#model.look(this.#kernel, target.ownership, target.state);
    const { operations, obstacles } = diffStates(target.state, this.#model.objects);
    this.#obstacles = obstacles.map((obstacle) => obstacle.message);
    for (const message of this.#obstacles) this.#reportOnce(message);
    this.#failures.keepOnly(operations);
    const due = operations.filter(
      (operation) => !(operation.action === "remove" && target.keepOthers) && this.#failures.isDue(operation),
    );
    if (due.length > 0) {
      // What was in place before, or would be had it not been refused, is missing because somebody changed it.
      const isRepair =
        this.#handledTarget !== undefined &&
        sameTarget(target, this.#handledTarget) &&
        !due.some((operation) => this.#failures.neverWorked(operation));
      const results = await this.#kernel.apply(due);
      const done = due.filter((operation, index) => this.#settle(operation, results[index], isRepair));
      const doneMs = this.#timers.nowMs();
      this.#logWork(done, isRepair, doneMs - startedMs);
      if (isRepair && done.length > 0) {
        const tookMs = doneMs - (news?.atMs ?? startedMs);
        this.#onRepair?.({ operations: done, tookMs, portIds: news?.portIds ?? new Map() });
      }
    }
    if (this.status.problems.length === 0) this.#reported.clear();
  }

  /** The kernel could not be asked or told at all: try again with everything in doubt. */
  #postpone(error: FlannelError): void {
    this.#kernelError = `the kernel does not answer: ${messageOf(error)}`;
    this.#reportOnce(this.#kernelError);
    this.#model.doubtAll();
    this.#timers.after(POSTPONED_MS, () => this.#rouse());
  }

  /** Takes note of one result; true if the operation is done. */
  #settle(operation: Operation, error: FlannelError | undefined, isRepair: boolean): boolean {
    if (error === undefined || (operation.action === "remove" && isNotFound(error))) {
      this.#model.applied(operation);
      this.#failures.forget(operation);
      return true;
    }
    if (STALE_CODES.some((code) => hasCode(error, code))) this.#model.doubtAll();
    const { message, isFirst } = this.#failures.note(operation, error, isRepair);
    // The first failure is often a race with a change that the next look shows; what fails again is worth a line.
    if (!isFirst) this.#reportOnce(message);
    return false;
  }

  #logWork(done: readonly Operation[], isRepair: boolean, tookMs: number): void {
    if (done.length === 0) return;
    const describe = ({ action, object }: Operation) => `${action} ${describeObject(object)}`;
    const named = done.slice(0, 3).map(describe).join("; ");
    const more = done.length > 3 ? ` and ${done.length - 3} more` : "";
    const took = `in ${tookMs.toFixed(1)} ms`;
    if (isRepair) {
      this.#repairs += done.length;
      if (this.#onRepair !== undefined) return;
      this.#logger.warn(`Something else changed what is flannel's; repaired ${took}: ${named}${more}`);
    } else {
      this.#logger.debug(`Kernel: ${done.length} operations ${took}: ${named}${more}`);
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const ownership = () => this.#target?.ownership ?? { devices: new Set<string>(), networks: [] };
    while (!signal.aborted) {
      try {
        for await (const notice of this.#kernel.watch(ownership, signal)) this.#consider(notice);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        this.#reportOnce(`the kernel's notifications cannot be had, trying again: ${messageOf(error)}`);
        await sleep(this.#timers, POSTPONED_MS, signal);
        this.lookAgain();
      }
    }
  }

  #consider(notice: KernelNotice): void {
    if (notice === "overrun") {
      this.#logger.info("Kernel notifications were lost; looking at everything again");
      this.lookAgain();
      return;
    }
    for (const change of notice) {
      const isReleased = change.action === "touched" && this.#failures.hasten(keyOf(change.object));
      if (this.#model.expects(change) && !isReleased) continue;
      this.#news ??= { atMs: this.#timers.nowMs(), portIds: new Map() };
      if (change.portId) this.#news.portIds.set(keyOf(change.object), change.portId);
      this.#model.doubt(change.object.kind);
      this.#rouse();
    }
  }

  #reportOnce(message: string): void {
    if (this.#reported.has(message)) return;
    this.#reported.add(message);
    this.#logger.error(message);
  }

  #releasePassWaiters(): void {
    const waiters = this.#passWaiters;
    this.#passWaiters = [];
    for (const resolve of waiters) resolve();
  }

  #rouse(): void {
    this.#isAwake = true;
    this.#wake?.();
  }

  async #waitForWork(): Promise<void> {
    if (!this.#isAwake) {
      await new Promise<void>((resolve) => {
        const cancel = this.#timers.after(this.#resyncIntervalMs, () => {
          this.#model.doubtAll();
          resolve();
        });
        this.#wake = () => {
          cancel();
          resolve();
        };
      });
      this.#wake = undefined;
    }
    this.#isAwake = false;
  }
}
