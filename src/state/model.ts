/**
 * What the reconciler believes the providers hold, and which kinds of object that belief is in doubt for. Filled by
 * observing, advanced by what was applied, and compared with what the providers report.
 */

import { FlannelError } from "../base/error.ts";
import { applyToModel, isUnmarked } from "./diff.ts";
import {
  deviceOf,
  KINDS,
  keyOf,
  kindOf,
  type State,
  type StateChange,
  type StateKind,
  type StateObject,
  type StateOperation,
  sameObject,
} from "./objects.ts";
import type { Ownership } from "./operation.ts";
import type { Provider } from "./provider.ts";

/** The belief about what is in place, by key. At the beginning everything is in doubt. */
export class Model {
  readonly #objects = new Map<string, StateObject>();
  /** Keys of objects that were in place until something else removed or replaced them. */
  readonly #lost = new Set<string>();
  readonly #doubtful = new Set<StateKind>(KINDS.map(({ kind }) => kind));

  get objects(): State {
    return this.#objects;
  }

  /** Puts all kinds in doubt, or those that `provider` holds. */
  doubtAll(provider?: Provider): void {
    for (const { kind } of KINDS)
      if (provider === undefined || provider.kinds.has(kind)) this.#doubtful.add(kind);
  }

  /**
   * Observes again what is in doubt. The kinds of a provider that cannot be asked stay in doubt: it is given back with its
   * error.
   */
  async observe(
    providers: readonly Provider[],
    ownership: Ownership,
    desired: State,
  ): Promise<ReadonlyMap<Provider, FlannelError>> {
    const errors = new Map<Provider, FlannelError>();
    const kinds = new Set<StateKind>();
    const observed: StateObject[][] = [];
    for (const provider of providers) {
      const doubtful = provider.kinds.intersection(this.#doubtful);
      if (doubtful.size === 0) continue;
      for (const kind of doubtful) this.#doubtful.delete(kind);
      try {
        observed.push(await provider.observe(ownership, doubtful));
        for (const kind of doubtful) kinds.add(kind);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        this.doubtAll(provider);
        errors.set(provider, error);
      }
    }
    if (kinds.size > 0) this.#replace(kinds, observed, desired);
    return errors;
  }

  /** Replaces all objects of these kinds. */
  #replace(kinds: ReadonlySet<StateKind>, observed: readonly StateObject[][], desired: State): void {
    const objects = this.#objects;
    const before = new Set<string>();
    // Here and below forEach: before it is compiled, for…of makes two objects for each of thousands.
    objects.forEach((object, key) => {
      if (!kinds.has(object.kind)) return;
      if (kindOf(object).isReclaimed && !isUnmarked(object, objects)) before.add(key);
      objects.delete(key);
    });
    for (const list of observed) {
      list.forEach((object) => {
        const key = keyOf(object);
        const same = desired.get(key);
        // The desired object itself replaces an equal one, so that comparing the next time is comparing pointers.
        objects.set(key, same !== undefined && sameObject(same, object) ? same : object);
      });
    }
    before.forEach((key) => {
      const now = objects.get(key);
      if (now === undefined || isUnmarked(now, objects)) this.#lost.add(key);
    });
    for (const key of this.#lost) if (!desired.has(key)) this.#lost.delete(key);
  }

  /** Whether the object of this key was in place until something else removed or replaced it. */
  wasLost(key: string): boolean {
    return this.#lost.has(key);
  }

  /** Records that `operation` succeeded. */
  applied(operation: StateOperation): void {
    applyToModel(this.#objects, operation);
    this.#lost.delete(keyOf(operation.object));
  }

  /** Whether a reported change is what the model says already. */
  expects(change: StateChange): boolean {
    const { object, action } = change;
    const known = this.#objects.get(keyOf(object));
    const { removesOthersSilently, isKeptWhenUndesired } = kindOf(object);
    if (known === undefined && removesOthersSilently && action === "touched")
      return !this.#dependsOn(deviceOf(object));
    // A setting that was never made here is irrelevant, and comes with every notice about its device.
    if (known === undefined) return action !== "set" || isKeptWhenUndesired === true;
    if (action === "touched") return false;
    return sameObject(known, object) === (action === "set");
  }

  #dependsOn(device: string): boolean {
    return this.#objects.values().some((object) => object.kind !== "link" && deviceOf(object) === device);
  }

  /** Puts in doubt what a change of this object can have taken along. */
  doubt(object: StateObject): void {
    if (kindOf(object).removesOthersSilently) this.doubtAll();
    else this.#doubtful.add(object.kind);
  }
}
