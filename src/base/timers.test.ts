import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeTimers } from "../testing/fake-timers.ts";
import { repeat } from "./timers.ts";

test("a turn is repeated after as long as it says, until aborted", async () => {
  const timers = new FakeTimers();
  const abort = new AbortController();
  const turnsMs: number[] = [];
  const running = repeat(timers, () => turnsMs.push(timers.nowMs()) * 100, abort.signal);
  for (let count = 0; count < 10; count++) await timers.advance(50);
  assert.deepEqual(turnsMs, [0, 100, 300]);
  abort.abort();
  await running;
  await timers.advance(10_000);
  assert.equal(turnsMs.length, 3);
  await repeat(timers, () => assert.fail("aborted before"), abort.signal);
});

test("the error of a turn ends the repetition", async () => {
  const timers = new FakeTimers();
  let turns = 0;
  const turn = (): number => {
    if (++turns === 2) throw new Error("broken");
    return 10;
  };
  const running = repeat(timers, turn, new AbortController().signal);
  const ended = assert.rejects(running, /broken/);
  await timers.advance(10);
  await ended;
  await timers.advance(100);
  assert.equal(turns, 2);
});
