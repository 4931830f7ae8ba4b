/** Operations that the kernel refused: when each is due again, and its message. One does not delay the others (W24). */

import { type FlannelError, hasCode, messageOf } from "../base/error.ts";
import type { Timers } from "../base/timers.ts";
import { describeObject, keyOf, type StateObject, type StateOperation } from "./objects.ts";

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 30_000;
/** For what another program holds, since no notice says when it lets go. */
const LONGEST_BUSY_RETRY_MS = 1_000;
/** News that may concern any failure make all of them due at most this often; thousands of failures more rarely. */
const HASTEN_INTERVAL_MS = 200;
const HASTEN_INTERVAL_PER_FAILURE_MS = 2;

/** An object whose operation was refused, and why. */
export interface Refusal {
  /** The object to be created or removed: an operation on another object of the same key need not wait. */
  readonly object: StateObject;
  readonly message: string;
}

interface Failure extends Refusal {
  /** Whether it was in place before. */
  readonly isRepair: boolean;
  readonly delayMs: number;
  readonly retryAtMs: number;
}

/** The operations that failed and are to be retried, by the key of their object. Holds one timer while anything is due. */
export class FailureBook {
  readonly #timers: Timers;
  readonly #wake: () => void;
  readonly #failures = new Map<string, Failure>();
  #hastenedAtMs = Number.NEGATIVE_INFINITY;
  #isHastening = false;

  /** `wake` is called whenever an operation is due again. */
  constructor(timers: Timers, wake: () => void) {
    this.#timers = timers;
    this.#wake = wake;
  }

  get refusals(): Iterable<Refusal> {
    return this.#failures.values();
  }

  get messages(): string[] {
    return [...this.#failures.values()].map((failure) => failure.message);
  }

  /** Whether its object has been refused ever since it was first desired. */
  neverWorked(operation: StateOperation): boolean {
    return this.#failures.get(keyOf(operation.object))?.isRepair === false;
  }

  /** Whether the operation may be tried now. */
  isDue(operation: StateOperation): boolean {
    if (this.#failures.size === 0) return true;
    const failure = this.#failures.get(keyOf(operation.object));
    return (
      failure === undefined ||
      failure.object !== operation.object ||
      failure.retryAtMs <= this.#timers.nowMs()
    );
  }

  /**
   * Records that it failed. The first retry is at once, because most first failures are races with a change that the next
   * observation shows; from then on pauses double from 100 ms to 30 s, or to a second for what another program holds.
   * `isRepair`: the operation was to restore what had been in place.
   */
  note(
    operation: StateOperation,
    error: FlannelError,
    isRepair: boolean,
  ): { readonly message: string; readonly isFirst: boolean } {
    const key = keyOf(operation.object);
    const before = this.#failures.get(key);
    const isBusy = hasCode(error, "EADDRINUSE") || hasCode(error, "EBUSY");
    const limitMs = isBusy ? LONGEST_BUSY_RETRY_MS : LONGEST_RETRY_MS;
    const delayMs =
      before === undefined ? 0 : Math.min(limitMs, Math.max(FIRST_RETRY_MS, before.delayMs * 2));
    const message = `failed to ${operation.action} ${describeObject(operation.object)}: ${messageOf(error)}`;
    const retryAtMs = this.#timers.nowMs() + delayMs;
    const failure: Failure = {
      object: operation.object,
      isRepair: before?.isRepair ?? isRepair,
      message,
      delayMs,
      retryAtMs,
    };
    this.#failures.set(key, failure);
    this.#timers.after(delayMs, () => {
      // A timer of Node.js counts whole milliseconds and may be early by one: nothing would wake the reconciler for the rest.
      if (this.#failures.get(key) === failure) this.hasten(key);
      this.#wake();
    });
    return { message, isFirst: before === undefined };
  }

  /** Makes what failed for this key due now: something about it has changed. False if nothing failed. */
  hasten(key: string): boolean {
    const failure = this.#failures.get(key);
    if (failure !== undefined) this.#failures.set(key, { ...failure, retryAtMs: this.#timers.nowMs() });
    return failure !== undefined;
  }

  /** Makes everything that failed due soon: something on the host has changed that may have been in the way. */
  hastenAll(): void {
    if (this.#failures.size === 0 || this.#isHastening) return;
    this.#isHastening = true;
    const nowMs = this.#timers.nowMs();
    this.#timers.after(Math.max(0, this.#hastenedAtMs + this.#hastenIntervalMs - nowMs), () => {
      this.#isHastening = false;
      this.#hastenedAtMs = this.#timers.nowMs();
      for (const key of this.#failures.keys()) this.hasten(key);
      this.#wake();
    });
  }

  get #hastenIntervalMs(): number {
    return Math.max(HASTEN_INTERVAL_MS, this.#failures.size * HASTEN_INTERVAL_PER_FAILURE_MS);
  }

  forget(operation: StateOperation): void {
    if (this.#failures.size > 0) this.#failures.delete(keyOf(operation.object));
  }

  /** Forgets all but those of `operations`: the others are no longer desired. */
  keepOnly(operations: readonly StateOperation[]): void {
    if (this.#failures.size === 0) return;
    const wanted = new Set(operations.map((operation) => keyOf(operation.object)));
    for (const key of this.#failures.keys()) if (!wanted.has(key)) this.#failures.delete(key);
  }
}
