/** Feeds the flight recorder from the agent's events: after the kernel is programmed, so that it delays nothing. */

import type { HostKeys } from "../backend/backend.ts";
import type { BackendConfig } from "../backend/backends.ts";
import { describeSubnets } from "../lease/lease.ts";
import type { TriedOperation } from "../recorder/entries.ts";
import { InputChanges } from "../recorder/input-changes.ts";
import type { RecordedConfig } from "../recorder/plan-inputs.ts";
import type { Recorder } from "../recorder/recorder.ts";
import { describeObject, keyOf, type StateOperation } from "../state/objects.ts";
import type { Pass } from "../state/pass.ts";
import type { AgentParts } from "./parts.ts";
import type { ResolvedConfig } from "./planner.ts";
import type { Readiness } from "./readiness.ts";

/** Operations of one pass that are recorded, besides those that were refused. */
const RECORDED_OPERATIONS = 20;

export interface RecordPorts {
  readonly readiness: Readiness;
  readonly wallClockMs: () => number;
  readonly keys: Pick<HostKeys, "registerPresharedKey" | "registerSecret">;
  /** `--ip-blackhole-route`. */
  readonly blackholeRoute: boolean;
}

/** Records from now on. */
export function recordAgent(
  recorder: Recorder,
  { events, reconciler, keeper, planner, follower }: AgentParts,
  { readiness, wallClockMs, keys, blackholeRoute }: RecordPorts,
): void {
  const inputs = new InputChanges();
  let planned: { readonly from: ResolvedConfig; readonly config: RecordedConfig } | undefined;
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
        if (target !== undefined) recorder.addTarget(target, wallClockMs(), inputs.take());
        if (event.pass.tried.length === 0) return;
        recorder.add({ atMs: wallClockMs(), type: "pass", ...triedIn(event.pass, reconciler.refusals) });
        return;
      }
      case "leases":
        inputs.noteLeases(event.changes);
        for (const lease of event.changes.renewed) recorder.shareLease(lease);
        return;
      case "next-hop":
        inputs.noteHop(event.address, event.hop);
        return;
      case "planned": {
        const from = planner.config;
        if (planned?.from !== from) planned = { from, config: recordedConfig(from, keys, blackholeRoute) };
        inputs.notePlan({ config: planned.config, own: keeper.own, isKnown: follower.isKnown });
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

/** Without secrets: in place of a preshared key its fingerprint, and no command that plans do not name. */
function recordedConfig(
  { network, backend, host }: ResolvedConfig,
  keys: RecordPorts["keys"],
  blackholeRoute: boolean,
): RecordedConfig {
  const { published, implementation } = backend;
  return {
    network: { ...network, backend: withoutSecrets(network.backend, keys) },
    ...{ host, published, implementation, blackholeRoute },
  };
}

function withoutSecrets(config: BackendConfig, keys: RecordPorts["keys"]): BackendConfig {
  switch (config.type) {
    case "wireguard":
      return config.presharedKey === undefined
        ? config
        : { ...config, presharedKey: keys.registerPresharedKey(config.presharedKey) };
    case "ipsec":
      return { ...config, presharedKey: keys.registerSecret(config.presharedKey) };
    case "ali-vpc":
    case "tencent-vpc":
      return config.accessKey === ""
        ? config
        : { ...config, accessKey: keys.registerSecret(config.accessKey) };
    case "extension":
      return { ...config, preStartupCommand: "" };
    default:
      return config;
  }
}
