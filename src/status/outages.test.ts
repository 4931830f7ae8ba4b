import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeTimers } from "../testing/fake-timers.ts";
import { Outages } from "./outages.ts";

test("an outage is reported while it lasts, with its last reason", async () => {
  const timers = new FakeTimers();
  const outages = new Outages(timers);
  assert.deepEqual(outages.lines, []);
  outages.note("the leases", "connection refused");
  await timers.advance(2_000);
  outages.note("the leases", "no answer");
  outages.note("the network config", "no answer");
  await timers.advance(1_000);
  assert.deepEqual(outages.lines, [
    "watch on the leases lost for 3 s; using the last known state: no answer",
    "watch on the network config lost for 1 s; using the last known state: no answer",
  ]);
  outages.note("the leases", undefined);
  assert.equal(outages.lines.length, 1);
  outages.note("the leases", "no answer");
  assert.match(outages.lines[1]!, /^watch on the leases lost for 0 s/);
});
