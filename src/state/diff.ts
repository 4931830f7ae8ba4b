/**
 * From what is there to what should be: the operations, in the order that never leaves a gap. New things are made
 * bottom up (a route comes last, when its neighbour and FDB entry can carry it), then old ones go top down.
 */

import type { Operation } from "./kernel.ts";
import {
  deviceOf,
  keyOf,
  linkKey,
  type Route,
  RTPROT_FLANNEL,
  STATE_KINDS,
  type State,
  type StateKind,
  type StateObject,
  sameObject,
  type TunLink,
  type VxlanLink,
} from "./objects.ts";

/** A device of our name that somebody else made stands in the way. */
export interface Obstacle {
  readonly key: string;
  readonly message: string;
}

export interface Difference {
  readonly operations: readonly Operation[];
  readonly obstacles: readonly Obstacle[];
}

const RANK: Readonly<Record<StateKind, number>> = Object.fromEntries(
  STATE_KINDS.map((kind, rank) => [kind, rank]),
) as Record<StateKind, number>;

/** What turns `observed` into `desired`. Nothing is planned on a device that cannot be had (see obstacles). */
export function diffStates(desired: State, observed: State): Difference {
  const obstacles: Obstacle[] = [];
  const blocked = new Set<string>();
  const remade = new Set<string>();
  const withoutNeighbours = new Set<string>();
  const creates: Operation[] = [];
  const removes: Operation[] = [];
  for (const [key, want] of desired) {
    if (want.kind !== "link") continue;
    const have = observed.get(key);
    if (have?.kind !== "link") continue;
    if (have.type === "foreign" || have.type !== want.type) {
      blocked.add(have.name);
      const kind = have.type === "foreign" ? have.linkKind : have.type;
      const otherVni = want.type === "vxlan" ? ", or choose another VNI in the network config" : "";
      obstacles.push({
        key,
        message: `device ${have.name} exists and is not flannel's (it is a ${kind} device): remove or rename it${otherVni}`,
      });
    } else if (have.type === "vxlan" && want.type === "vxlan") {
      if (mustRemake(have, want)) remade.add(have.name);
      // net/core/neighbour.c, neigh_changeaddr: a new MAC costs the device all its neighbours.
      if (have.mac !== want.mac) withoutNeighbours.add(have.name);
    }
  }
  /** Whether what is there goes when the devices are changed. */
  const isLost = (have: StateObject): boolean =>
    have.kind !== "link" &&
    (remade.has(have.device) || (have.kind === "neighbour" && withoutNeighbours.has(have.device)));
  let matched = 0;
  for (const [key, want] of desired) {
    const have = observed.get(key);
    if (have !== undefined) matched++;
    if (blocked.has(deviceOf(want))) continue;
    if (have === undefined || isLost(have) || isInTheWay(have, want, observed)) {
      creates.push({ action: "create", object: want });
    } else if (have !== want && !sameObject(have, want)) {
      creates.push({ action: "replace", object: want, previous: have });
    }
  }
  if (matched < observed.size) {
    const foreign = foreignDevices(observed);
    for (const [key, have] of observed) {
      const device = deviceOf(have);
      if (desired.has(key) || foreign.has(device) || blocked.has(device) || isLost(have)) continue;
      if (have.kind === "setting" || isUnmarked(have, observed)) continue;
      removes.push({ action: "remove", object: have });
    }
  }
  const byRank = (a: Operation, b: Operation) => RANK[a.object.kind] - RANK[b.object.kind];
  creates.sort(byRank);
  removes.sort((a, b) => byRank(b, a));
  return { operations: [...creates, ...removes], obstacles };
}

/** A route that bears no mark of ours and stands on no device of ours. */
const isUnmarked = (object: StateObject, observed: State): object is Route =>
  object.kind === "route" && object.protocol !== RTPROT_FLANNEL && !observed.has(linkKey(object.device));

/** Somebody else's route to where we want one of our own. The kernel will refuse ours, and the operator is told. */
const isInTheWay = (have: StateObject, want: StateObject, observed: State): boolean =>
  isUnmarked(have, observed) &&
  want.kind === "route" &&
  (have.via !== want.via || have.device !== want.device);

/** Devices of our names that are others', and with them whatever stands on them. */
function foreignDevices(observed: State): ReadonlySet<string> {
  const names = new Set<string>();
  for (const have of observed.values()) {
    if (have.kind === "link" && have.type === "foreign") names.add(have.name);
  }
  return names;
}

/** Whether turning `have` into `want` takes a new device (drivers/net/vxlan: what vxlan_changelink refuses). */
export const mustRemake = (have: VxlanLink | TunLink, want: VxlanLink | TunLink): boolean =>
  have.type === "vxlan" && want.type === "vxlan" && mustRemakeVxlan(have, want);

const mustRemakeVxlan = (have: VxlanLink, want: VxlanLink): boolean =>
  have.vni !== want.vni ||
  have.lower !== want.lower ||
  have.local !== want.local ||
  have.port !== want.port ||
  have.learning !== want.learning ||
  have.gbp !== want.gbp;

/** The state after `operation` succeeded: what the reconciler believes until it looks again. */
export function applyToModel(model: Map<string, StateObject>, operation: Operation): void {
  const { object } = operation;
  if (operation.action === "remove") {
    model.delete(keyOf(object));
    if (object.kind === "link") dropDependents(model, object.name);
    return;
  }
  if (
    operation.action === "replace" &&
    operation.previous.kind === "link" &&
    operation.previous.type === "vxlan" &&
    object.kind === "link" &&
    object.type === "vxlan"
  ) {
    if (mustRemake(operation.previous, object)) dropDependents(model, object.name);
    else if (operation.previous.mac !== object.mac) dropDependents(model, object.name, "neighbour");
  }
  model.set(keyOf(object), object);
}

/** Forgets what stood on a device: all of it, or all of one kind. */
function dropDependents(model: Map<string, StateObject>, device: string, kind?: StateKind): void {
  for (const [key, object] of model) {
    if (object.kind === "link" || object.device !== device) continue;
    if (kind === undefined || object.kind === kind) model.delete(key);
  }
}
