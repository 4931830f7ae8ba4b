import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreError } from "../base/error.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { createOutage } from "./outage.ts";

const TIMINGS = { retryMinMs: 100, retryMaxMs: 10_000 };
const unavailable = new StoreError("UNAVAILABLE", "etcd is down");

function start({ random = () => 0.5 } = {}) {
  const timers = new FakeTimers();
  const log: string[] = [];
  const at = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger = { info: at("I"), warn: at("W"), error: at("E"), debug: at("D") };
  const reported: (string | undefined)[] = [];
  const outage = createOutage(
    "the leases",
    TIMINGS,
    {
      logger,
      timers,
      random,
      onOutage: (what, problem) => void reported.push(problem && `${what}: ${problem}`),
    },
    new AbortController().signal,
  );
  /** How long it pauses for. */
  const pause = async (failure: unknown = unavailable) => {
    const startMs = timers.nowMs();
    const paused = outage.pause(failure);
    await settle(1);
    await timers.advance(timers.nextMs!);
    await paused;
    return timers.nowMs() - startMs;
  };
  return { timers, log, reported, outage, pause };
}

test("pauses double up to the limit; after a good while they begin anew, after a bad one they do not", async () => {
  const { timers, outage, pause } = start();
  const pauses = [];
  for (let attempt = 0; attempt < 9; attempt++) pauses.push(await pause());
  assert.deepEqual(pauses, [75, 150, 300, 600, 1_200, 2_400, 4_800, 7_500, 7_500]);
  outage.over();
  await timers.advance(1_000);
  assert.equal(await pause(), 7_500, "a store that comes and goes");
  outage.over();
  await timers.advance(TIMINGS.retryMaxMs + 1);
  assert.equal(await pause(), 75);
});

test("each failed attempt and the end are reported", async () => {
  const { reported, outage, pause } = start();
  await pause();
  await pause(new StoreError("UNAVAILABLE", "does not answer"));
  outage.over();
  outage.over();
  assert.deepEqual(reported, ["the leases: etcd is down", "the leases: does not answer", undefined]);
});

test("logs the beginning, the end, and each change of its nature once", async () => {
  const { log, outage, pause } = start();
  const refused = new StoreError("UNAUTHENTICATED", "its certificate has expired");
  await pause();
  await pause(new StoreError("UNAVAILABLE", "does not answer"));
  await pause(refused);
  await pause();
  await pause(refused);
  outage.over();
  outage.over();
  assert.deepEqual(log, [
    "W Watch on the leases lost; retrying: etcd is down",
    "E Watch on the leases lost for 0 s; retrying: its certificate has expired",
    "I Watch on the leases restored after 2.3 s",
  ]);
});

test("F20 an endpoint that is down in two ways by turns is one line, repeated at growing intervals", async () => {
  const { timers, log, outage, pause } = start();
  const silent = new StoreError("UNAVAILABLE", "etcd at http://192.0.2.1:2379: does not answer");
  const refused = new StoreError("UNAVAILABLE", "etcd at http://192.0.2.1:2379: connection refused");
  for (let attempt = 0; timers.nowMs() < 3_600_000; attempt++)
    await pause(attempt % 2 === 0 ? silent : refused);
  assert.match(log[0]!, /^W Watch on the leases lost; retrying: etcd at .* does not answer$/);
  const seconds = log
    .slice(1)
    .map((line) => Number(/^W Watch on the leases lost for (\d+) s; retrying: /.exec(line)![1]));
  for (const [index, expected] of [60, 180, 420, 900, 1_860].entries()) {
    assert.ok(Math.abs(seconds[index]! - expected) < 30, log.join("\n")); // at the next attempt
  }
  assert.equal(seconds.length, 5);
  outage.over();
  await pause(refused);
  assert.equal(
    log.at(-1),
    `W Watch on the leases lost; retrying: ${refused.message}`,
    "a new outage is logged at once",
  );
});

test("5,000 hosts that lose the store in one moment spread: soon no second sees more than its share of them", () => {
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647; // Park and Miller's
    return seed / 2_147_483_647;
  };
  const perSecond = new Array<number>(121).fill(0);
  for (let host = 0; host < 5_000; host++) {
    let nowMs = 0;
    let waiting = 0;
    const timers = {
      nowMs: () => nowMs,
      after: (delayMs: number) => {
        waiting = delayMs;
        return () => {};
      },
    };
    const silent = { info() {}, warn() {}, error() {}, debug() {} };
    const ports = { logger: silent, timers, random };
    const outage = createOutage("the leases", TIMINGS, ports, new AbortController().signal);
    while (nowMs < 120_000) {
      void outage.pause(unavailable); // of the pause only the length counts here
      nowMs += waiting;
      perSecond[Math.floor(nowMs / 1000)]!++;
    }
  }
  const share = 5_000 / 7.5; // a pause is 7.5 s long, on average
  const later = perSecond.slice(60, 120);
  assert.ok(Math.max(...later) < 1.5 * share, `${later}`);
  assert.ok(Math.min(...later) > share / 2, `${later}`);
});
