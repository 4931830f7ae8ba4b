/**
 * The flight recorder: the latest entries in a ring that is bounded by number and by memory. Desired states are kept as differences
 * whose objects are those of the reconciler, so that what is still desired costs nothing; the difference that leaves the ring
 * becomes part of the state that the recording begins with, so that a recording can always be replayed.
 */

import { formatPrefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import { keyOf, type State, type StateObject, sameObject } from "../state/objects.ts";
import { sameOwnership, type Target } from "../state/target.ts";
import type { RecorderEntry, TargetEntry } from "./entries.ts";
import {
  applyInputs,
  emptyInputs,
  type InputState,
  type PlanInputs,
  shareLease,
  wholeInputs,
} from "./plan-inputs.ts";

/** Bounds of a recording. */
export interface RecorderLimits {
  readonly entries: number;
  /** Estimated memory of the entries. */
  readonly bytes: number;
}

const LIMITS: RecorderLimits = { entries: 5_000, bytes: 1_500_000 };
/** Estimated memory of an entry, and of each object in it. */
const ENTRY_BYTES = 200;
const OBJECT_BYTES = 250;
/** Of what plans are made from. */
const CONFIG_BYTES = 2_000;
const LEASE_BYTES = 600;
const CHANGE_BYTES = 100;

/** Records entries, and drops the oldest at either bound. Adding an entry does no I/O. */
export class Recorder {
  readonly #limits: RecorderLimits;
  #entries: RecorderEntry[] = [];
  /** Number of evicted entries that are still at the start of `#entries`. */
  #evicted = 0;
  #bytes = 0;
  /** The state before the first entry. */
  #base:
    | { readonly state: Map<string, StateObject>; readonly inputs: InputState; last: TargetEntry }
    | undefined;
  #target: Target | undefined;

  constructor(limits: RecorderLimits = LIMITS) {
    this.#limits = limits;
  }

  /** Records an entry. */
  add(entry: RecorderEntry): void {
    this.#entries.push(entry);
    this.#bytes += costOf(entry);
    while (this.#count > this.#limits.entries || (this.#bytes > this.#limits.bytes && this.#count > 0))
      this.#evict();
    if (this.#evicted > this.#limits.entries) {
      this.#entries = this.#entries.slice(this.#evicted);
      this.#evicted = 0;
    }
  }

  /** Records how this target differs from the last one, if it does, and how what it was planned from differs. */
  addTarget(target: Target, atMs: number, inputs?: PlanInputs): void {
    const before = this.#target;
    if (before === target && inputs === undefined) return;
    this.#target = target;
    const set: StateObject[] = [];
    const gone: string[] = [];
    let kept = 0;
    for (const [key, object] of target.state) {
      const old = before?.state.get(key);
      if (old !== undefined) kept++;
      if (old === object) continue;
      if (old === undefined || !sameObject(old, object)) set.push(object);
      else this.#shareObject(key, object);
    }
    // Mostly nothing is gone, or the state is small.
    if (before !== undefined && kept < before.state.size)
      for (const key of before.state.keys()) if (!target.state.has(key)) gone.push(key);
    const isSame =
      before !== undefined &&
      before.keepOthers === target.keepOthers &&
      sameOwnership(before.ownership, target.ownership);
    if (isSame && set.length === 0 && gone.length === 0 && inputs === undefined) return;
    this.add({
      ...{ atMs, type: "target", set, gone },
      devices: [...target.ownership.devices],
      networks: target.ownership.networks.map(formatPrefix),
      keepOthers: target.keepOthers,
      ...(inputs && { inputs }),
    });
  }

  /** After a renewal the lease table has another object: the recording shares its content. */
  shareLease(lease: Lease): void {
    if (this.#base !== undefined) shareLease(this.#base.inputs, lease);
  }

  #shareObject(key: string, object: StateObject): void {
    const kept = this.#base?.state.get(key);
    if (kept !== undefined && sameObject(kept, object)) this.#base!.state.set(key, object);
  }

  get isEmpty(): boolean {
    return this.#base === undefined && this.#count === 0;
  }

  /** All entries, oldest first; the first one is the state that the recording begins with. */
  *entries(): Generator<RecorderEntry> {
    if (this.#base !== undefined) {
      const { state, inputs, last } = this.#base;
      const whole = wholeInputs(inputs);
      yield { ...last, set: [...state.values()], gone: [], ...(whole && { inputs: whole }) };
    }
    for (let index = this.#evicted; index < this.#entries.length; index++) yield this.#entries[index]!;
  }

  get #count(): number {
    return this.#entries.length - this.#evicted;
  }

  #evict(): void {
    const entry = this.#entries[this.#evicted]!;
    this.#bytes -= costOf(entry);
    // The place stays until enough of them are free; what it refers to does not.
    this.#entries[this.#evicted++] = FREE;
    if (entry.type !== "target") return;
    const { inputs, ...rest } = entry;
    this.#base ??= { state: new Map(), inputs: emptyInputs(), last: rest };
    this.#base.last = { ...rest, set: [], gone: [] };
    applyTarget(this.#base.state, entry);
    if (inputs !== undefined) applyInputs(this.#base.inputs, inputs);
  }
}

const FREE: RecorderEntry = { atMs: 0, type: "readiness", message: "" };

/** Changes `state` into the one after the entry. */
export function applyTarget(state: Map<string, StateObject>, { set, gone }: TargetEntry): State {
  for (const key of gone) state.delete(key);
  for (const object of set) state.set(keyOf(object), object);
  return state;
}

function costOf(entry: RecorderEntry): number {
  switch (entry.type) {
    case "target":
      return (
        ENTRY_BYTES +
        (entry.set.length + entry.gone.length) * OBJECT_BYTES +
        (entry.inputs === undefined ? 0 : costOfInputs(entry.inputs))
      );
    case "pass":
      return ENTRY_BYTES + entry.operations.length * OBJECT_BYTES;
    case "drift":
      return ENTRY_BYTES + entry.operations.length * OBJECT_BYTES;
    default:
      return ENTRY_BYTES + entry.message.length * 2;
  }
}

function costOfInputs({ config, leases = [], hops = [], ...others }: PlanInputs): number {
  const { renewals = [], goneLeases = [], goneHops = [] } = others;
  const changes = renewals.length + goneLeases.length + goneHops.length + 2 * hops.length;
  const addresses = config?.host.localAddresses?.length ?? 0;
  return (
    (config === undefined ? 0 : CONFIG_BYTES + addresses * CHANGE_BYTES) +
    leases.length * LEASE_BYTES +
    changes * CHANGE_BYTES
  );
}
