/** A reconciler at work on a kernel in memory, and the objects that its tests program. */

import type { TestContext } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import type { Logger } from "../base/logger.ts";
import { MemoryKernel } from "../recorder/memory-kernel.ts";
import { type Route, RTPROT_FLANNEL, type State, type StateObject } from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";
import { Reconciler, type ReconcilerOptions, type Repair } from "../state/reconciler.ts";
import { FakeTimers, settle } from "./fake-timers.ts";
import { ADDRESS, LINK, stateOf } from "./sample-objects.ts";

export const OWNERSHIP: Ownership = {
  devices: new Set(["flannel.1"]),
  networks: [parsePrefix("10.5.0.0/16")!],
};

export const RTPROT_STATIC = 4;
export const RESYNC_MS = 60_000;
export const BRIDGE: StateObject = { kind: "link", name: "flannel.1", type: "foreign", linkKind: "bridge" };

export const routeTo = (number: number, changes: Partial<Route> = {}): Route => ({
  kind: "route",
  destination: `10.5.${number}.0/24`,
  device: "flannel.1",
  via: `10.5.${number}.0`,
  onlink: true,
  protocol: RTPROT_FLANNEL,
  ...changes,
});

/** Another's route to the same destination. */
export const theirRouteTo = (number: number): Route =>
  routeTo(number, { device: "eth0", via: "192.168.7.250", onlink: false, protocol: RTPROT_STATIC });

export function peerObjects(number: number, macNumber = number): StateObject[] {
  const mac = `02:00:00:00:01:0${macNumber}`;
  return [
    { kind: "fdb", device: "flannel.1", mac, destination: `192.168.7.${number}` },
    { kind: "neighbour", device: "flannel.1", address: `10.5.${number}.0`, mac },
    routeTo(number),
  ];
}

export const stateFor = (...peers: readonly number[]) =>
  stateOf([LINK, ADDRESS, ...peers.flatMap((number) => peerObjects(number))]);

/** A reconciler at work on a fake kernel, until the test ends. */
export function startReconciler(t: TestContext, kernel = new MemoryKernel()) {
  const timers = new FakeTimers();
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger: Logger = { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") };
  const repairs: Repair[] = [];
  const onRepair: ReconcilerOptions["onRepair"] = (repair) => {
    repairs.push(repair);
    logger.warn(`Repaired drift: ${repair.operations.length}`);
  };
  const providers = [kernel];
  const reconciler = new Reconciler({ providers, logger, timers, resyncIntervalMs: RESYNC_MS, onRepair });
  const stop = new AbortController();
  const running = reconciler.run(stop.signal);
  const end = async () => {
    stop.abort();
    await running;
  };
  t.after(end);
  const hold = async (state: State, keepOthers = false) => {
    reconciler.setTarget({ state, ownership: OWNERSHIP, keepOthers });
    await settle();
  };
  return { kernel, timers, log, reconciler, hold, end, repairs, status: () => reconciler.status };
}
