/** The ledger with a fake clock. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "../base/logger.ts";
import { silentLogger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import type { Route } from "../state/objects.ts";
import { DriftLedger, driftOf } from "./drift.ts";

function ledgerOf(capacity?: number) {
  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (message) => warnings.push(message) };
  let pending: (() => void) | undefined;
  const timers: Timers = {
    nowMs: () => 0,
    after(_, callback) {
      pending = callback;
      return () => {
        pending = undefined;
      };
    },
  };
  const wallClockMs = () => Date.UTC(2026, 0, 2, 3, 4, 5);
  const ledger = new DriftLedger({ logger, timers, wallClockMs, ...(capacity && { capacity }) });
  const burstEnds = () => {
    const callback = pending;
    pending = undefined;
    callback?.();
  };
  return { ledger, warnings, burstEnds, isTimerSet: () => pending !== undefined };
}

const drift = (what: string, by?: string) => ({ kind: "route", what, tookMs: 1.25, by });

test("every entry is kept, counted, and dated", () => {
  const { ledger } = ledgerOf();
  ledger.record([drift("route 10.5.2.0/24 (missing)", "ip (pid 7)"), { ...drift("x"), kind: "fdb" }]);
  assert.deepEqual(JSON.parse(JSON.stringify(ledger)), {
    counts: { route: 1, fdb: 1 },
    entries: [
      { at: "2026-01-02T03:04:05.000Z", ...drift("route 10.5.2.0/24 (missing)", "ip (pid 7)") },
      { at: "2026-01-02T03:04:05.000Z", kind: "fdb", what: "x", tookMs: 1.25 },
    ],
  });
});

test("bounded: the oldest entries are dropped, the counts stay", () => {
  const { ledger } = ledgerOf(3);
  for (let index = 0; index < 5; index++) ledger.record([drift(`${index}`)]);
  assert.deepEqual(
    ledger.entries.map(({ what }) => what),
    ["2", "3", "4"],
  );
  assert.deepEqual(ledger.counts, { route: 5 });
});

test("a burst is logged when it begins, and once for all that follows while it lasts", () => {
  const { ledger, warnings, burstEnds, isTimerSet } = ledgerOf();
  ledger.record([]);
  assert.deepEqual(warnings, []);
  ledger.record(["a", "b", "c", "d"].map((what) => drift(what, "NetworkManager (pid 812)")));
  for (let index = 0; index < 100; index++) ledger.record([drift("more")]);
  assert.deepEqual(warnings, [
    "Repaired drift in 1.3 ms: a; b; c and 1 more; changed by NetworkManager (pid 812)",
  ]);
  burstEnds();
  assert.equal(warnings[1], "Drift continues; repaired in the last 10 s: 100 route");
  burstEnds();
  assert.equal(warnings.length, 2);
  assert.equal(isTimerSet(), false);
  ledger.record([drift("later")]);
  assert.match(warnings[2]!, /^Repaired drift in 1.3 ms: later$/);
  ledger[Symbol.dispose]();
  assert.equal(isTimerSet(), false);
});

test("what the reconciler repaired, with the name of the process behind the socket", () => {
  const route = (number: number): Route => ({
    kind: "route",
    destination: `10.5.${number}.0/24`,
    device: "flannel.1",
    via: `10.5.${number}.0`,
    onlink: true,
    protocol: 70,
  });
  const entries = driftOf(
    {
      operations: [
        { action: "create", object: route(2) },
        { action: "remove", object: route(3) },
      ],
      tookMs: new Map([
        ["route 10.5.2.0/24", 2],
        ["route 10.5.3.0/24", 2],
      ]),
      portIds: new Map([["route 10.5.2.0/24", 812]]),
    },
    (portId) => `NetworkManager (pid ${portId})`,
  );
  assert.deepEqual(entries, [
    {
      kind: "route",
      what: "route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink (missing)",
      tookMs: 2,
      by: "NetworkManager (pid 812)",
    },
    {
      kind: "route",
      what: "route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink (not desired)",
      tookMs: 2,
      by: undefined,
    },
  ]);
});
