/** What flanneld would change now: the difference between the desired state and the model, for people. */

import { describeObject, type StateObject } from "../state/objects.ts";
import type { Reconciler } from "../state/reconciler.ts";
import type { PendingChange } from "../status/api.ts";
import type { FirewallKeeper } from "./firewall-keeper.ts";

const NOTHING = { operations: [], obstacles: [] };

/** Read lazily: at startup there may be thousands. */
export function* reportPlan(
  reconciler: Pick<Reconciler, "status" | "pending" | "refusals">,
  firewall: Pick<FirewallKeeper, "pending">,
): Generator<PendingChange> {
  // A comparison of everything takes milliseconds with thousands of peers; the last pass made one.
  const { operations, obstacles } = reconciler.status.converged ? NOTHING : reconciler.pending;
  for (const { key, message } of obstacles)
    yield { action: "blocked", kind: key.split(" ", 1)[0]!, object: key, reason: message };
  const reasons = new Map<StateObject, string>();
  for (const { object, message } of reconciler.refusals) reasons.set(object, message);
  for (const { action, object } of operations) {
    const reason = reasons.get(object);
    const what = { action, kind: object.kind, object: describeObject(object) };
    yield reason === undefined ? what : { ...what, reason };
  }
  const rules = firewall.pending;
  if (rules !== undefined)
    yield { action: "replace", kind: "firewall", object: "rules of flannel", reason: rules.reason };
}
