/**
 * What the reconciler believes the kernel holds, and which kinds of object that belief is in doubt for. Filled by
 * looking, moved on by what was applied, and held against what the kernel reports.
 */

import { applyToModel } from "./diff.ts";
import type { Change, Kernel, Operation, Ownership } from "./kernel.ts";
import { keyOf, STATE_KINDS, type State, type StateKind, type StateObject, sameObject } from "./objects.ts";

export class KernelModel {
  readonly #objects = new Map<string, StateObject>();
  readonly #doubtful = new Set<StateKind>(STATE_KINDS);

  get objects(): State {
    return this.#objects;
  }

  doubtAll(): void {
    for (const kind of STATE_KINDS) this.#doubtful.add(kind);
  }

  /** Looks again at the kinds in doubt. Throws what the kernel port throws; the doubt then stays with the caller. */
  async look(kernel: Kernel, ownership: Ownership, wanted: State): Promise<void> {
    if (this.#doubtful.size === 0) return;
    const kinds = new Set(this.#doubtful);
    this.#doubtful.clear();
    const observed = await kernel.observe(ownership, kinds);
    for (const [key, object] of this.#objects) if (kinds.has(object.kind)) this.#objects.delete(key);
    for (const object of observed) {
      const key = keyOf(object);
      const same = wanted.get(key);
      // The wanted object itself stands for an equal one, so that comparing the next time is comparing pointers.
      this.#objects.set(key, same !== undefined && sameObject(same, object) ? same : object);
    }
  }

  /** Takes note that `operation` succeeded. */
  applied(operation: Operation): void {
    applyToModel(this.#objects, operation);
  }

  /** Whether a reported change is no news. */
  expects(change: Change): boolean {
    const { object } = change;
    const known = this.#objects.get(keyOf(object));
    if (known === undefined && object.kind === "link" && change.action === "touched")
      return !this.#carriesRoutes(object.name);
    // Settings are told with every notice of their device; one that was never set here matters to nobody.
    if (known === undefined) return change.action !== "set" || object.kind === "setting";
    if (change.action === "touched") return false;
    return sameObject(known, change.object) === (change.action === "set");
  }

  #carriesRoutes(device: string): boolean {
    return this.#objects.values().some((object) => object.kind === "route" && object.device === device);
  }

  /** Puts in doubt what a change of this kind can have taken along. */
  doubt(kind: StateKind): void {
    // With a device, or its last address, the kernel drops routes and neighbours and tells nobody
    // (net/ipv4/fib_frontend.c).
    if (kind === "link" || kind === "address") this.doubtAll();
    else this.#doubtful.add(kind);
  }
}
