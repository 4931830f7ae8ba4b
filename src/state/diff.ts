/**
 * From the observed state to the desired one: the operations, in the order that never leaves a gap. New objects are made
 * bottom up (a route comes last, when its neighbour and FDB entry can carry it), then old ones are removed top down.
 */

import type { LostDependents } from "./object-kind.ts";
import {
  deviceOf,
  keyOf,
  kindOf,
  linkKey,
  RANK,
  type State,
  type StateObject,
  type StateOperation,
  sameObject,
} from "./objects.ts";

/** A foreign device of our name that blocks a desired object. */
interface Obstacle {
  readonly key: string;
  readonly message: string;
}

/** What a pass has to do (`operations`, in order) and what it cannot do because a foreign object conflicts (`obstacles`). */
export interface Difference {
  readonly operations: readonly StateOperation[];
  readonly obstacles: readonly Obstacle[];
}

/** What turns `observed` into `desired`. Nothing is planned on a device that cannot be made (see obstacles). */
export function diffStates(desired: State, observed: State): Difference {
  const { obstacles, blocked, lost } = compareDevices(desired, observed);
  /** Whether an observed object goes when the devices are changed. */
  const isLost = (have: StateObject): boolean =>
    have.kind !== "link" && isAmong(have, lost.get(deviceOf(have)));
  const creates: StateOperation[] = [];
  const removes: StateOperation[] = [];
  let matched = 0;
  // forEach: before it is compiled, for…of makes two objects for each of thousands.
  desired.forEach((want, key) => {
    const have = observed.get(key);
    if (have !== undefined) matched++;
    if (have === want && lost.size === 0) return;
    if (blocked.has(deviceOf(want))) return;
    if (have === undefined || isLost(have)) creates.push({ action: "create", object: want });
    // A foreign route with the destination of ours: the kernel refuses ours, and the operator gets a message.
    else if (isUnmarked(have, observed) && kindOf(want).isAdoptable?.(have, want) === false)
      creates.push({ action: "create", object: want });
    else if (have !== want && !sameObject(have, want))
      creates.push({ action: "replace", object: want, previous: have });
  });
  if (matched < observed.size) {
    const foreign = foreignDevices(observed);
    for (const [key, have] of observed) {
      const device = deviceOf(have);
      if (desired.has(key) || foreign.has(device) || blocked.has(device) || isLost(have)) continue;
      if (kindOf(have).isKeptWhenUndesired || isUnmarked(have, observed)) continue;
      removes.push({ action: "remove", object: have });
    }
  }
  const byRank = (a: StateOperation, b: StateOperation) => RANK[a.object.kind] - RANK[b.object.kind];
  creates.sort(byRank);
  removes.sort((a, b) => byRank(b, a));
  return { operations: [...creates, ...removes], obstacles };
}

/** Whether an observed object has no mark of ours: a foreign one, or one that an earlier flannel may have made. */
export const isUnmarked = (object: StateObject, observed: State): boolean =>
  kindOf(object).isUnmarked?.(object, (device) => observed.has(linkKey(device))) === true;

/** Which desired devices are blocked by foreign ones, and what the changes of the others cost. */
function compareDevices(desired: State, observed: State) {
  const obstacles: Obstacle[] = [];
  const blocked = new Set<string>();
  const lost = new Map<string, LostDependents>();
  desired.forEach((want, key) => {
    const have = observed.get(key);
    if (have === undefined || have === want) return;
    const { conflict, lostDependents } = kindOf(want);
    const message = conflict?.(have, want);
    if (message !== undefined) {
      blocked.add(deviceOf(want));
      obstacles.push({ key, message });
    } else if (lostDependents !== undefined) lost.set(deviceOf(want), lostDependents(have, want));
  });
  return { obstacles, blocked, lost };
}

const isAmong = ({ kind }: StateObject, lost: LostDependents | undefined): boolean =>
  lost === "all" || lost?.includes(kind) === true;

/** Foreign devices of our names, and with them everything on them. */
function foreignDevices(observed: State): ReadonlySet<string> {
  const names = new Set<string>();
  for (const have of observed.values()) {
    if (have.kind === "link" && have.type === "foreign") names.add(have.name);
  }
  return names;
}

/** Changes `model` to the state after `operation` succeeded: what the reconciler believes until it observes again. */
export function applyToModel(model: Map<string, StateObject>, operation: StateOperation): void {
  const { object } = operation;
  const kind = kindOf(object);
  const next = operation.action === "remove" ? undefined : object;
  if (operation.action !== "create" && kind.lostDependents !== undefined) {
    const previous = operation.action === "replace" ? operation.previous : object;
    dropDependents(model, deviceOf(object), kind.lostDependents(previous, next));
  }
  if (next === undefined) model.delete(keyOf(object));
  else model.set(keyOf(next), next);
}

function dropDependents(model: Map<string, StateObject>, device: string, lost: LostDependents): void {
  if (lost.length === 0) return;
  for (const [key, object] of model) {
    if (object.kind !== "link" && deviceOf(object) === device && isAmong(object, lost)) model.delete(key);
  }
}
