/**
 * The engine that makes what the providers hold equal to the desired state, and keeps it so.
 *
 * It keeps a model of what the providers hold. A pass observes the kinds in doubt, compares the model with the desired state and applies
 * the difference in one batch. It runs when the desired state changes, when a notice does not fit the model (something else changed an
 * object, or notices were lost), when a failed operation is due again, and every `resyncIntervalMs` with everything in doubt. Notices
 * never change the model: they only say “observe again”, so that a lost, late or repeated one costs nothing. A provider that
 * fails keeps its kinds in doubt and is asked again later; the kinds of the others are programmed meanwhile.
 */

import { FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import { Applier } from "./applier.ts";
import { type Difference, diffStates } from "./diff.ts";
import type { Refusal } from "./failures.ts";
import { Model } from "./model.ts";
import { keyOf, type State, type StateOperation } from "./objects.ts";
import type { Ownership } from "./operation.ts";
import { type Pass, runsOf, summarize } from "./pass.ts";
import type { Notice, Provider } from "./provider.ts";
import { pendingOf, sameOwnership, sameTarget, type Target } from "./target.ts";

/** The outcome of the last pass, and counts since the start (`passes`, `repairs`) for metrics. */
export interface ReconcilerStatus {
  /** Whether the last pass left nothing to do. */
  readonly converged: boolean;
  /** What prevents convergence, one line each. */
  readonly problems: readonly string[];
  readonly passes: number;
  /** Operations made because something else had changed objects of ours. */
  readonly repairs: number;
}

/** Drift that was repaired: objects of ours that something else had changed. */
export interface Repair {
  readonly operations: readonly StateOperation[];
  /** Milliseconds from the first sign that the object of this key was lost until it was repaired, attempts that failed included. */
  readonly tookMs: ReadonlyMap<string, number>;
  /** Port id of the netlink socket that changed the object of this key ({@link keyOf}), where known. */
  readonly portIds: ReadonlyMap<string, number>;
}

/** The reconciler's ports and its interval, in milliseconds. */
export interface ReconcilerOptions {
  /** Each kind of object is held by one of them. */
  readonly providers: readonly Provider[];
  readonly logger: Logger;
  readonly timers: Timers;
  /** How often everything is observed again though nothing seems to have happened. */
  readonly resyncIntervalMs: number;
  /** Called after each pass: `status` may have changed. */
  readonly onPass?: (pass: Pass) => void;
  /** Called after each pass that repaired something. */
  readonly onRepair: (repair: Repair) => void;
}

/** Since the last pass: when first, and the port ids of the changes by key. */
interface News {
  readonly atMs: number;
  readonly portIds: Map<string, number>;
}

const RETRY_MS = 1000;
const NOTHING: State = new Map();
const NOTHING_OWNED: Ownership = { devices: new Set(), networks: [] };

/** Runs until aborted. `setTarget` gives it another desired state at any time; passes never overlap. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #model = new Model();
  readonly #applier: Applier;
  readonly #reported = new Set<string>();
  readonly #work = new WakeSignal();
  readonly #passed = new WakeSignal();
  #target: Target | undefined;
  #handledTarget: Target | undefined;
  #obstacles: readonly string[] = [];
  /** Why providers could not be asked in the last pass. */
  #providerErrors: ReadonlyMap<Provider, string> = new Map();
  /** What something else changed and is not repaired yet, by key: since when, and the port id that changed it. */
  readonly #losses = new Map<string, { readonly sinceMs: number; readonly portId: number | undefined }>();
  #passes = 0;
  #repairs = 0;
  #news: News | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#applier = new Applier({
      model: this.#model,
      timers: options.timers,
      wake: () => this.#work.wake(),
      reportOnce: (message) => this.#reportOnce(message),
    });
  }

  /** Sets what to program from now on. */
  setTarget(target: Target): void {
    if (this.#target !== undefined && !sameOwnership(this.#target.ownership, target.ownership))
      this.#model.doubtAll();
    this.#target = target;
    this.#work.wake();
  }

  /** Resolves once a pass has left nothing to do, or when aborted. */
  async whenConverged(signal: AbortSignal): Promise<void> {
    while (!this.status.converged && !signal.aborted) await this.#passed.wait({ signal });
  }

  /** Observes everything again soon. */
  resync(): void {
    this.#model.doubtAll();
    this.#work.wake();
  }

  get status(): ReconcilerStatus {
    const problems = [...this.#obstacles, ...this.#applier.problems, ...this.#providerErrors.values()];
    const isHandled = this.#target !== undefined && this.#target === this.#handledTarget;
    return {
      converged: isHandled && problems.length === 0,
      problems,
      passes: this.#passes,
      repairs: this.#repairs,
    };
  }

  get target(): Target | undefined {
    return this.#target;
  }

  /** What is to be programmed. */
  get desired(): State {
    return this.#target?.state ?? NOTHING;
  }

  /** What the providers have, as far as known. Equal desired objects are mostly the same ones. */
  get observed(): State {
    return this.#model.objects;
  }

  /** What a pass would do now, as far as known. */
  get pending(): Difference {
    return pendingOf(this.#target, this.#model.objects);
  }

  /** What was refused and is not done yet. */
  get refusals(): Iterable<Refusal> {
    return this.#applier.failures.refusals;
  }

  /** Works until aborted; then returns with everything left as it is. */
  async run(signal: AbortSignal): Promise<void> {
    const { timers, resyncIntervalMs, onPass } = this.#options;
    let watching: Promise<unknown> | undefined;
    try {
      for (;;) {
        const reason = await this.#work.wait({ timers, timeoutMs: resyncIntervalMs, signal });
        if (reason === "aborted") return;
        if (reason === "timeout") this.#model.doubtAll();
        if (this.#target === undefined) continue;
        const target = this.#target;
        const pass = await this.#pass(target);
        if (this.#providerErrors.size === 0) this.#handledTarget = target;
        if (watching === undefined && (!target.keepOthers || this.status.problems.length > 0)) {
          // Only now: thousands of notices about our own first pass would say nothing new, but whatever blocks it may be
          // cleared away. What happened between that pass and the subscription is found by observing again.
          watching = Promise.all(this.#options.providers.map((provider) => this.#watch(provider, signal)));
          this.resync();
        }
        this.#passed.wake();
        onPass?.(pass);
      }
    } finally {
      this.#passed.wake();
      await watching;
    }
  }

  async #pass(target: Target): Promise<Pass> {
    const { timers, providers, onRepair, logger } = this.#options;
    const startedMs = timers.nowMs();
    const news = this.#news;
    this.#news = undefined;
    this.#passes++;
    const errors = new Map<Provider, string>();
    for (const [provider, error] of await this.#model.observe(providers, target.ownership, target.state))
      errors.set(provider, this.#postpone(provider, error));
    const { operations, obstacles } = diffStates(target.state, this.#model.objects);
    this.#obstacles = obstacles.map((obstacle) => obstacle.message);
    for (const message of this.#obstacles) this.#reportOnce(message);
    const due = this.#applier.begin(operations, target.keepOthers);
    // What was in place before, or would be had it not been refused, is missing because something else changed it.
    const isRepair =
      this.#handledTarget !== undefined &&
      sameTarget(target, this.#handledTarget) &&
      !due.some((operation) => this.#applier.failures.neverWorked(operation));
    this.#noteLosses(isRepair ? operations : [], news ?? { atMs: startedMs, portIds: new Map() });
    const done: StateOperation[] = [];
    for (const [provider, run] of runsOf(due, providers)) {
      if (errors.has(provider)) continue;
      try {
        done.push(...(await this.#applier.apply(provider, run, isRepair)));
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        errors.set(provider, this.#postpone(provider, error));
      }
    }
    this.#providerErrors = errors;
    const doneMs = timers.nowMs();
    if (isRepair && done.length > 0) {
      this.#repairs += done.length;
      onRepair(this.#repairOf(done, doneMs));
    } else if (done.length > 0) {
      const tookMs = (doneMs - startedMs).toFixed(1);
      logger.debug(`Programmed ${done.length} objects in ${tookMs} ms: ${summarize(done)}`);
    }
    if (this.status.problems.length === 0) this.#reported.clear();
    return { tookMs: doneMs - startedMs, tried: due, done };
  }

  /** A provider could not be asked at all: it is asked again soon, with all that it holds in doubt. */
  #postpone(provider: Provider, error: FlannelError): string {
    const message = `${provider.name} does not answer: ${messageOf(error)}`;
    this.#reportOnce(message);
    this.#model.doubtAll(provider);
    this.#options.timers.after(RETRY_MS, () => this.#work.wake());
    return message;
  }

  #noteLosses(operations: readonly StateOperation[], { atMs, portIds }: News): void {
    const keys = new Set(operations.map(({ object }) => keyOf(object)));
    for (const key of this.#losses.keys()) if (!keys.has(key)) this.#losses.delete(key);
    for (const key of keys) {
      const before = this.#losses.get(key);
      this.#losses.set(key, {
        sinceMs: before?.sinceMs ?? atMs,
        portId: portIds.get(key) ?? before?.portId,
      });
    }
  }

  #repairOf(operations: readonly StateOperation[], nowMs: number): Repair {
    const tookMs = new Map<string, number>();
    const portIds = new Map<string, number>();
    for (const { object } of operations) {
      const key = keyOf(object);
      const { sinceMs, portId } = this.#losses.get(key) ?? { sinceMs: nowMs, portId: undefined };
      tookMs.set(key, nowMs - sinceMs);
      if (portId !== undefined) portIds.set(key, portId);
      this.#losses.delete(key);
    }
    return { operations, tookMs, portIds };
  }

  async #watch(provider: Provider, signal: AbortSignal): Promise<void> {
    const ownership = () => this.#target?.ownership ?? NOTHING_OWNED;
    while (!signal.aborted) {
      try {
        for await (const notice of provider.watch(ownership, signal)) this.#consider(provider, notice);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        this.#reportOnce(`failed to watch ${provider.name} for changes; retrying: ${messageOf(error)}`);
        await sleep(this.#options.timers, RETRY_MS, signal);
        this.resync();
      }
    }
  }

  #consider(provider: Provider, notice: Notice): void {
    if (notice === "overrun") {
      this.#options.logger.info(
        `Some notifications were lost (from ${provider.name}); observing everything again`,
      );
      this.resync();
      return;
    }
    if (notice === "elsewhere") {
      this.#applier.failures.hastenAll();
      return;
    }
    for (const change of notice) {
      if (change.action === "touched") this.#applier.failures.hastenAll();
      const isReleased = change.action === "touched" && this.#applier.failures.hasten(keyOf(change.object));
      if (this.#model.expects(change) && !isReleased) continue;
      this.#news ??= { atMs: this.#options.timers.nowMs(), portIds: new Map() };
      if (change.portId) this.#news.portIds.set(keyOf(change.object), change.portId);
      this.#model.doubt(change.object);
      this.#work.wake();
    }
  }

  #reportOnce(message: string): void {
    if (this.#reported.has(message)) return;
    this.#reported.add(message);
    this.#options.logger.error(`${message.charAt(0).toUpperCase()}${message.slice(1)}`);
  }
}
