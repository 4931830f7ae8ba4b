/** The target of the reconciler, and when two targets are the same. */

import { type Difference, diffStates } from "./diff.ts";
import { type State, sameObject } from "./objects.ts";
import type { Ownership } from "./operation.ts";

/** What the reconciler is to program. */
export interface Target {
  readonly state: State;
  readonly ownership: Ownership;
  /** Only create and repair, remove nothing: until the peers are known, what an earlier run left may still be right. */
  readonly keepOthers: boolean;
}

/** What turns `observed` into the target; removals only where they are due. Undefined = nothing is desired yet. */
export function pendingOf(target: Target | undefined, observed: State): Difference {
  if (target === undefined) return { operations: [], obstacles: [] };
  const { operations, obstacles } = diffStates(target.state, observed);
  if (!target.keepOthers) return { operations, obstacles };
  return { operations: operations.filter(({ action }) => action !== "remove"), obstacles };
}

/** Whether both desire the same, so that any difference from the second one after the first was reached is drift. */
export function sameTarget(a: Target, b: Target): boolean {
  if (a === b) return true;
  if (a.keepOthers !== b.keepOthers || a.state.size !== b.state.size) return false;
  if (!sameOwnership(a.ownership, b.ownership)) return false;
  for (const [key, object] of a.state) {
    const other = b.state.get(key);
    if (other === undefined || (other !== object && !sameObject(other, object))) return false;
  }
  return true;
}

/** Whether both name the same devices and networks, in the same order. */
export function sameOwnership(a: Ownership, b: Ownership): boolean {
  const key = (ownership: Ownership) =>
    [
      ...ownership.devices,
      ...ownership.networks.map((network) => `${network.base}/${network.length}`),
    ].join();
  return a === b || key(a) === key(b);
}
