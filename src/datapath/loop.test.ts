import assert from "node:assert/strict";
import { test } from "node:test";
import { FakePacketIo } from "../testing/fake-packet-io.ts";
import { createCounters } from "./counters.ts";
import { NO_FORWARDING } from "./forwarding.ts";
import { runLoop } from "./loop.ts";
import type { Order, Report } from "./messages.ts";
import { TUN_READY, WOKEN } from "./packet-io.ts";

/** Answers waits one after the other, in runs of equal ones. */
class ScriptedIo extends FakePacketIo {
  readonly #runs: [count: number, ready: number][];

  constructor(runs: readonly (readonly [count: number, ready: number])[]) {
    super();
    this.#runs = runs.map(([count, ready]) => [count, ready]);
  }

  override wait(): number {
    const run = this.#runs[0]!;
    if (--run[0] === 0) this.#runs.shift();
    return run[1];
  }
}

/** How often it has tidied up, and what it has reported, until the script's end. */
function run(runs: readonly (readonly [count: number, ready: number])[]) {
  const reports: Report[] = [];
  const orders: Order[] = [{ type: "stop" }];
  let tidied = 0;
  runLoop(
    {
      io: new ScriptedIo([...runs, [1, WOKEN]]),
      nextOrder: () => orders.shift(),
      report: (report) => reports.push(report),
      tidyUp: () => tidied++,
    },
    { counters: createCounters(), forwarding: NO_FORWARDING },
  );
  return { tidied, reports };
}

test("memory is tidied up in the first pause after much traffic, and again after as much", () => {
  assert.equal(run([[5, 0]]).tidied, 0, "nothing to tidy");
  const [busy, idle] = [[25_000, TUN_READY] as const, [3, 0] as const];
  assert.equal(run([busy]).tidied, 0, "not while there is traffic");
  assert.equal(run([busy, idle]).tidied, 1);
  assert.equal(run([busy, idle, [5_000, TUN_READY], idle]).tidied, 1, "little traffic since");
  assert.equal(run([busy, idle, busy, idle]).tidied, 2);
});

test("it ends on the order to stop, and reports it", () => {
  assert.deepEqual(run([[1, 0]]).reports, [{ type: "stopped", deviceLost: false }]);
});
