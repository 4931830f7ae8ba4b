import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeTimers } from "../testing/fake-timers.ts";
import type { Logger } from "./logger.ts";
import { backoff, type RetryOptions, retry } from "./retry.ts";

/** Runs attempts of which the first ones fail with these messages; the next one gives 7. */
function start(failures: string[], options: Partial<RetryOptions<number>> = {}) {
  const timers = new FakeTimers();
  const lines: string[] = [];
  const attemptsAtMs: number[] = [];
  const logger: Logger = {
    info: (message) => lines.push(`I ${message}`),
    warn: (message) => lines.push(`W ${message}`),
    error: (message) => lines.push(`E ${message}`),
    debug() {},
  };
  const abort = new AbortController();
  const result = retry(
    {
      failure: "Failed to count",
      async attempt() {
        attemptsAtMs.push(timers.nowMs());
        const failure = failures.shift();
        if (failure !== undefined) throw new Error(failure);
        return 7;
      },
      pauseMs: 1_000,
      signal: abort.signal,
      ...options,
    },
    { timers, logger },
  );
  return { timers, lines, attemptsAtMs, abort, result };
}

test("attempts until one succeeds and logs each distinct problem once", async () => {
  const { timers, lines, attemptsAtMs, result } = start(["a", "a", "b", "a"]);
  await timers.advance(10_000);
  assert.equal(await result, 7);
  assert.deepEqual(attemptsAtMs, [0, 1_000, 2_000, 3_000, 4_000]);
  assert.deepEqual(lines, ["E Failed to count; retrying: a", "E Failed to count; retrying: b"]);
});

test("a first attempt that succeeds logs nothing and waits for nothing", async () => {
  const { timers, lines, result } = start([], { recovered: "Counted" });
  assert.equal(await result, 7);
  assert.equal(timers.nextMs, undefined);
  assert.deepEqual(lines, []);
});

test("level, words, recovery and the hook for readiness are the caller's", async () => {
  const problems: (string | undefined)[] = [];
  const { timers, lines, result } = start(["a", "a"], {
    level: "warn",
    describe: (error) => `${(error as Error).message}: add one`,
    onProblem: (problem) => problems.push(problem),
    recovered: "Counted in the end",
  });
  await timers.advance(10_000);
  await result;
  assert.deepEqual(problems, ["a: add one", "a: add one", undefined]);
  assert.deepEqual(lines, ["W Failed to count; retrying: a: add one", "I Counted in the end"]);
});

test("an abort ends the pause, and a failure after it is not reported", async () => {
  const paused = start(["a"]);
  await paused.timers.advance(500);
  paused.abort.abort();
  assert.equal(await paused.result, undefined);
  assert.equal(paused.timers.nextMs, undefined);

  const { promise, reject } = Promise.withResolvers<number>();
  const underWay = start([], { attempt: () => promise, onProblem: () => assert.fail("reported") });
  underWay.abort.abort();
  reject(new Error("aborted"));
  assert.equal(await underWay.result, undefined);
  assert.deepEqual(underWay.lines, []);
});

test("what `describe` throws ends it", async () => {
  const { result } = start(["broken"], {
    describe(error) {
      throw error;
    },
  });
  await assert.rejects(result, /^Error: broken$/);
});

test("backoff doubles up to the limit and draws between half and all of it", async () => {
  const pausesMs = (random: number) => [0, 1, 2, 3, 4, 5].map(backoff(100, 1_000, () => random));
  assert.deepEqual(pausesMs(1), [100, 200, 400, 800, 1_000, 1_000]);
  assert.deepEqual(pausesMs(0), [50, 100, 200, 400, 500, 500]);
  const { timers, attemptsAtMs, result } = start(["a", "a", "a"], { pauseMs: backoff(100, 300, () => 1) });
  await timers.advance(10_000);
  await result;
  assert.deepEqual(attemptsAtMs, [0, 100, 300, 600]);
});
