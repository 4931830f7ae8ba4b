/** Feeds the flight recorder from the agent's events: after the kernel is programmed, so that it delays nothing. */

import { describeSubnets } from "../lease/lease.ts";
import type { TriedOperation } from "../recorder/entries.ts";
import type { Recorder } from "../recorder/recorder.ts";
import { describeObject, keyOf, type StateOperation } from "../state/objects.ts";
import type { Pass } from "../state/pass.ts";
import type { AgentParts } from "./parts.ts";
import type { Readiness } from "./readiness.ts";

/** Operations of one pass that are recorded, besides those that were refused. */
const RECORDED_OPERATIONS = 20;

/** Records from now on. */
export function recordAgent(
  recorder: Recorder,
  { events, reconciler, keeper }: AgentParts,
  { readiness, wallClockMs }: { readonly readiness: Readiness; readonly wallClockMs: () => number },
): void {
  const note = (type: "lease" | "peer" | "probe" | "readiness", message: string) =>
    recorder.add({ atMs: wallClockMs(), type, message });
  let wasReady: boolean | undefined;
  readiness.subscribe(() => {
    const [reason] = readiness.reasons;
    const isReady = reason === undefined;
    if (isReady === wasReady) return;
    wasReady = isReady;
    note("readiness", isReady ? "ready" : `not ready: ${reason}`);
  });
  events.subscribe((event) => {
    switch (event.type) {
      case "pass": {
        const { target } = reconciler;
        if (target !== undefined) recorder.addTarget(target, wallClockMs());
        if (event.pass.tried.length === 0) return;
        recorder.add({ atMs: wallClockMs(), type: "pass", ...triedIn(event.pass, reconciler.refusals) });
        return;
      }
      case "repair":
        recorder.add({ atMs: wallClockMs(), type: "drift", operations: event.repair.operations });
        return;
      case "peer":
      case "probe":
        note(event.type, event.message);
        return;
      case "lease": {
        const { own, problem } = keeper;
        note("lease", problem ?? `Lease ${own === undefined ? "" : describeSubnets(own.subnets)} is held`);
        return;
      }
    }
  });
}

function triedIn(
  { tookMs, tried, done }: Pass,
  refusals: Iterable<{ readonly object: StateOperation["object"]; readonly message: string }>,
) {
  const messages = new Map<unknown, string>();
  if (done.length < tried.length) for (const { object, message } of refusals) messages.set(object, message);
  const operations: TriedOperation[] = [];
  for (const { action, object } of tried) {
    const problem = messages.get(object);
    if (problem === undefined && operations.length >= RECORDED_OPERATIONS) continue;
    const what = { action, key: keyOf(object), object: describeObject(object) };
    operations.push(problem === undefined ? what : { ...what, problem });
  }
  return { tookMs: Math.round(tookMs * 1_000) / 1_000, operations, tried: tried.length };
}
