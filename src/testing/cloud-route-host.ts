/** A host whose cloud route is desired: the provider of cloud routes behind a reconciler, for tests against a fake cloud. */

import type { TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { parsePrefix } from "../address/prefix.ts";
import type { AccessKey, Cloud, CloudSettings } from "../cloud/cloud.ts";
import { CloudRouteProvider } from "../cloud/cloud-route-provider.ts";
import type { CloudRouteEntry } from "../state/kinds/cloud-route.ts";
import type { Ownership } from "../state/operation.ts";
import { Reconciler } from "../state/reconciler.ts";
import type { FastTimers } from "./cloud-test-ports.ts";
import { stateOf } from "./sample-objects.ts";

const OWNERSHIP: Ownership = { devices: new Set(), networks: [parsePrefix("10.5.0.0/16")!] };
const DEADLINE_MS = 20_000;

export interface CloudRouteHostOptions {
  /** The backend's type. */
  readonly type: string;
  /** This host's address. */
  readonly address: string;
  readonly destination: string;
  readonly open: (settings: CloudSettings) => Cloud;
  readonly timers: FastTimers;
  readonly accessKey?: AccessKey;
}

/** Until the test ends. `log` has lines like "I Created route …". */
export function startCloudRouteHost(t: TestContext, options: CloudRouteHostOptions) {
  const { type, address, destination, open, timers, accessKey } = options;
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger = { info: note("I"), warn: note("W"), error: note("E"), debug() {} };
  const stop = new AbortController();
  const provider = new CloudRouteProvider({
    resyncMs: 60_000,
    open: async (_type, settings) => open(settings),
    accessKeyOf: () => accessKey,
    ...{ logger, timers, random: Math.random, signal: stop.signal },
  });
  const reconciler = new Reconciler({
    ...{ providers: [provider], logger, timers, resyncIntervalMs: 60_000, onRepair() {} },
  });
  const running = reconciler.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
  });
  const route: CloudRouteEntry = {
    ...{ kind: "cloud-route", cloud: type, table: "", destination, target: address },
    accessKeyId: accessKey === undefined ? "" : "key",
  };
  reconciler.setTarget({ state: stateOf([route]), ownership: OWNERSHIP, keepOthers: false });
  return {
    ...{ log, provider },
    /** What is wrong, in the words that /readyz shows. */
    problems: () => reconciler.status.problems.map((problem) => JSON.stringify(problem)).join("\n"),
    isConverged: () => reconciler.status.converged,
  };
}

/** Waits for a condition. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${DEADLINE_MS / 1000} s`);
    await wait(5);
  }
}
