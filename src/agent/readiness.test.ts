import assert from "node:assert/strict";
import { test } from "node:test";
import { settle } from "../testing/fake-timers.ts";
import { Readiness } from "./readiness.ts";

test("W36 is what all say at the time, rises and falls", () => {
  const readiness = new Readiness();
  readiness.set("lease", "not there yet");
  let obstacles: string[] = ["a bridge", "a route"];
  readiness.watch("kernel", () => obstacles);
  assert.deepEqual(readiness.reasons, ["lease: not there yet", "kernel: a bridge", "kernel: a route"]);
  readiness.set("lease", undefined);
  obstacles = [];
  assert.deepEqual(readiness.reasons, []);
  obstacles = ["a bridge"];
  assert.deepEqual(readiness.reasons, ["kernel: a bridge"]);
});

test("whenReady waits until there is no reason left, or until aborted", async () => {
  const readiness = new Readiness();
  readiness.set("a", "missing");
  readiness.set("b", "missing");
  let isReady = false;
  const waiting = readiness.whenReady(new AbortController().signal).then(() => {
    isReady = true;
  });
  readiness.set("a", undefined);
  await settle();
  assert.equal(isReady, false);
  readiness.set("b", undefined);
  await waiting;

  readiness.set("b", "missing again");
  const stop = new AbortController();
  const aborted = readiness.whenReady(stop.signal);
  stop.abort();
  await aborted;
  await readiness.whenReady(AbortSignal.abort());
});
