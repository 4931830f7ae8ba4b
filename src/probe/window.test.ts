import assert from "node:assert/strict";
import { test } from "node:test";
import { OVERLAY, UNDERLAY } from "./path.ts";
import { Windows } from "./window.ts";

test("statistics are those of the latest 32 probes, for each slot and path of its own", () => {
  const windows = new Windows();
  windows.reserve(2);
  assert.equal(windows.rtt(1, OVERLAY), undefined);
  assert.equal(windows.lossRatio(1, OVERLAY), undefined);
  for (let count = 0; count < 1_000; count++) windows.recordAnswer(1, OVERLAY, count);
  assert.deepEqual(windows.rtt(1, OVERLAY), { min: 968, mean: 983.5, p99: 999 });
  assert.equal(windows.lossRatio(1, OVERLAY), 0);
  for (let count = 0; count < 8; count++) windows.recordLoss(1, OVERLAY);
  assert.equal(windows.lossRatio(1, OVERLAY), 0.25);
  assert.equal(windows.rtt(1, UNDERLAY), undefined);
  windows.recordLoss(0, OVERLAY);
  windows.recordAnswer(0, OVERLAY, 0.5);
  assert.equal(windows.lossRatio(0, OVERLAY), 0.5);
  windows.reserve(100);
  assert.equal(windows.lossRatio(1, OVERLAY), 0.25);
  windows.clear(1);
  assert.equal(windows.rtt(1, OVERLAY), undefined);
  assert.deepEqual(windows.rtt(0, OVERLAY), { min: 0.5, mean: 0.5, p99: 0.5 });
  for (let count = 0; count < 40; count++) windows.recordLoss(1, UNDERLAY);
  assert.equal(windows.lossRatio(1, UNDERLAY), 1);
});
