import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreError } from "../base/error.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { createOutage } from "./outage.ts";

const TIMINGS = { retryMinMs: 100, retryMaxMs: 10_000 };
const unavailable = new StoreError("UNAVAILABLE", "etcd is away");

function start({ random = () => 0.5 } = {}) {
  const timers = new FakeTimers();
  const log: string[] = [];
  const at = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger = { info: at("I"), warn: at("W"), error: at("E"), debug: at("D") };
  const told: (string | undefined)[] = [];
  const outage = createOutage(
    "the leases",
    TIMINGS,
    { logger, timers, random, onOutage: (what, problem) => void told.push(problem && `${what}: ${problem}`) },
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
  return { timers, log, told, outage, pause };
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

test("who wants to know is told at each attempt, and of the end", async () => {
  const { told, outage, pause } = start();
  await pause();
  await pause(new StoreError("UNAVAILABLE", "does not answer"));
  outage.over();
  outage.over();
  assert.deepEqual(told, ["the leases: etcd is away", "the leases: does not answer", undefined]);
});

test("tells of the beginning, of the end, and once of each thing that an operator has to mend", async () => {
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
    "W lost the watch on the leases, trying again: etcd is away",
    "E no watch on the leases yet, trying on: its certificate has expired",
    "I watching the leases again after 2.3 s",
  ]);
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
