import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreError } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import { FakeTimers } from "../../testing/fake-timers.ts";
import { createContest, persist } from "./persist.ts";

const TIMINGS = { retryMinMs: 100, retryMaxMs: 1_000 };

function makeBed() {
  const timers = new FakeTimers();
  const lines: string[] = [];
  const logger: Logger = {
    info: (message) => lines.push(`I ${message}`),
    warn: (message) => lines.push(`W ${message}`),
    error: (message) => lines.push(`E ${message}`),
    debug() {},
  };
  return { timers, lines, ports: { timers, logger, random: () => 1 } };
}

test("retries until it succeeds, with growing pauses, and logs each problem once", async () => {
  const { timers, lines, ports } = makeBed();
  const atMs: number[] = [];
  const failures = ["a", "a", "b", "a", "a", "a"];
  const done = persist(
    "do it",
    async () => {
      atMs.push(timers.nowMs());
      const failure = failures.shift();
      if (failure !== undefined) throw new StoreError("UNAVAILABLE", failure);
    },
    TIMINGS,
    ports,
    new AbortController().signal,
  );
  await timers.advance(60_000);
  await done;
  assert.deepEqual(atMs, [0, 100, 300, 700, 1_500, 2_500, 3_500]);
  assert.deepEqual(lines, [
    "W Failed to do it; retrying: a",
    "W Failed to do it; retrying: b",
    "I Recovered: flanneld could do it",
  ]);
});

test("ends when aborted, and throws errors that are not the store's", async () => {
  const { timers, ports } = makeBed();
  const abort = new AbortController();
  const failing = async () => {
    throw new StoreError("UNAVAILABLE", "down");
  };
  const done = persist("do it", failing, TIMINGS, ports, abort.signal);
  await timers.advance(500);
  abort.abort();
  await done;
  const broken = async () => {
    throw new TypeError("broken");
  };
  await assert.rejects(persist("do it", broken, TIMINGS, ports, new AbortController().signal), TypeError);
});

test("a contest: three immediate repairs, then at growing intervals, and immediate again after a quiet time", async () => {
  const timers = new FakeTimers();
  const contest = createContest(1_000, timers);
  const pauses = async (count: number) => {
    const given: number[] = [];
    for (let round = 0; round < count; round++) {
      const { pauseMs } = contest.next();
      given.push(pauseMs);
      await timers.advance(pauseMs + 10);
    }
    return given;
  };
  assert.deepEqual(await pauses(8), [0, 0, 0, 250, 500, 1_000, 1_000, 1_000]);
  await timers.advance(1_500);
  assert.deepEqual(await pauses(1), [1_000]);
  await timers.advance(2_500);
  assert.deepEqual(await pauses(1), [0]);
});
