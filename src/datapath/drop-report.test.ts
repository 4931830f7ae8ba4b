import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../base/logger.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import { COUNTER, COUNTERS, createCounters, readCounters } from "./counters.ts";
import { reportDrops } from "./drop-report.ts";

/** ICMP notifies the senders of these. */
const EVERYDAY = ["droppedNoRoute", "droppedTtl"];

test("drops are logged once a minute, by reason, and only the new ones", async () => {
  const timers = new FakeTimers();
  const counters = createCounters();
  const warnings: string[] = [];
  const logger = { ...silentLogger, warn: (message: string) => warnings.push(message) };
  const stop = reportDrops("flannel0", () => readCounters(counters), { logger, timers });
  await timers.advance(60_000);
  assert.equal(warnings.length, 0, "nothing dropped, nothing said");

  const reasons = COUNTERS.filter((name) => name.startsWith("dropped"));
  for (const [index, name] of reasons.entries()) counters[COUNTER[name]] = 100 + index;
  await timers.advance(60_000);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /^Data path on flannel0, last minute: dropped 10\d packets /);
  for (const [index, name] of reasons.entries())
    assert.equal(warnings[0]!.includes(`${100 + index} packets`), !EVERYDAY.includes(name), name);

  counters[COUNTER.droppedStranger]! += 7;
  await timers.advance(60_000);
  assert.match(warnings[1]!, /: dropped 7 packets from addresses that are not a peer's$/);
  stop();
  counters[COUNTER.droppedStranger]! += 7;
  await timers.advance(600_000);
  assert.equal(warnings.length, 2, "and not after its end");
});
