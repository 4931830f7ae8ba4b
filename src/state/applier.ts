/**
 * Applies what a pass of the reconciler found to do, and remembers across passes what was refused (failures.ts) and what
 * foreign objects took over (reclaims.ts).
 */

import { type FlannelError, hasCode, isAlreadyExists, isNotFound } from "../base/error.ts";
import type { Timers } from "../base/timers.ts";
import { FailureBook } from "./failures.ts";
import type { Model } from "./model.ts";
import { describeObject, deviceOf, keyOf, type StateOperation } from "./objects.ts";
import type { Provider } from "./provider.ts";
import { Reclaims } from "./reclaims.ts";

/** Errors which mean that the model, not the request, was wrong. */
const STALE_CODES = ["EEXIST", "ENOENT", "ESRCH", "ENODEV", "ENOBUFS", "EADDRNOTAVAIL", "ENETUNREACH"];

/** What the applier shares with the reconciler. */
export interface ApplierOptions {
  readonly model: Model;
  readonly timers: Timers;
  /** Called when something that was refused or postponed is due. */
  readonly wake: () => void;
  /** Logs a problem unless it was logged before and has lasted since. */
  readonly reportOnce: (message: string) => void;
}

/** Applies the operations of one pass after the other; lives as long as the reconciler. */
export class Applier {
  readonly #options: ApplierOptions;
  readonly failures: FailureBook;
  readonly #reclaims: Reclaims;
  /** Objects of ours that are replaced again and again, and wait for their next repair. */
  #contested: string[] = [];
  /** Devices that could not be made in this pass. */
  readonly #failedDevices = new Set<string>();

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.failures = new FailureBook(options.timers, options.wake);
    this.#reclaims = new Reclaims(options.timers, options.wake);
  }

  /** What was not done in the last pass, and why, one line each. */
  get problems(): string[] {
    return [...this.#contested, ...this.failures.messages];
  }

  /**
   * Begins a pass: of `operations`, those that may be tried now; removals only unless `keepOthers`. What stands on a device that cannot be made yet waits for it, and is no failure of its own.
   */
  begin(operations: readonly StateOperation[], keepOthers: boolean): readonly StateOperation[] {
    this.#contested = [];
    this.#failedDevices.clear();
    this.failures.keepOnly(operations);
    return operations.filter((operation) => {
      if (operation.action === "remove" && keepOthers) return false;
      if (this.#failedDevices.has(deviceOf(operation.object))) return false;
      const isDue = this.failures.isDue(operation);
      if (!isDue && operation.object.kind === "link") this.#failedDevices.add(operation.object.name);
      return isDue;
    });
  }

  /** Applies operations on objects of one provider; gives back those that are done. Throws FlannelError. */
  async apply(
    provider: Provider,
    run: readonly StateOperation[],
    isRepair: boolean,
  ): Promise<StateOperation[]> {
    const results = await provider.apply(run);
    const reclaims: StateOperation[] = [];
    const done = run.filter((operation, index) => {
      const error = results[index];
      if (!this.#isTakenOver(operation, error)) return this.#settle(operation, error, isRepair);
      if (this.#reclaims.waitMs(keyOf(operation.object)) === 0)
        reclaims.push({ action: "create", object: operation.object, reclaims: true });
      else this.#contest(operation);
      return false;
    });
    if (reclaims.length === 0) return done;
    const reclaimed = await provider.apply(reclaims);
    return done.concat(
      reclaims.filter((operation, index) => {
        const isDone = this.#settle(operation, reclaimed[index], isRepair);
        if (isDone) this.#reclaims.note(keyOf(operation.object));
        return isDone;
      }),
    );
  }

  /** Whether ours was in place until a foreign object replaced it: that is drift. What was there before ours stays. */
  #isTakenOver({ action, object }: StateOperation, error: FlannelError | undefined): boolean {
    return action === "create" && isAlreadyExists(error) && this.#options.model.wasLost(keyOf(object));
  }

  #contest({ object }: StateOperation): void {
    const message = `something keeps replacing ${describeObject(object)}; repairing it at growing intervals`;
    this.#contested.push(message);
    this.#options.reportOnce(message);
  }

  /** Records one result; true if the operation is done. */
  #settle(operation: StateOperation, error: FlannelError | undefined, isRepair: boolean): boolean {
    if (error === undefined || (operation.action === "remove" && isNotFound(error))) {
      this.#options.model.applied(operation);
      this.failures.forget(operation);
      return true;
    }
    if (STALE_CODES.some((code) => hasCode(error, code))) this.#options.model.doubtAll();
    if (this.#failedDevices.has(deviceOf(operation.object))) return false;
    if (operation.object.kind === "link") this.#failedDevices.add(operation.object.name);
    const { message, isFirst } = this.failures.note(operation, error, isRepair);
    // The first failure is often a race with a change that the next observation shows; a second one is worth a line.
    // A missing interface, or work in progress, is reported once by its own watch, not by each object that waits for it.
    if (!isFirst && !hasCode(error, "ENODEV") && !hasCode(error, "EAGAIN")) this.#options.reportOnce(message);
    return false;
  }
}
