import assert from "node:assert/strict";
import { test } from "node:test";
import { FlannelError } from "../base/error.ts";
import { MemoryKernel } from "../recorder/memory-kernel.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import {
  BRIDGE,
  OWNERSHIP,
  peerObjects,
  RESYNC_MS,
  routeTo,
  startReconciler,
  stateFor,
  theirRouteTo,
} from "../testing/reconciler-bed.ts";
import { LINK, stateOf } from "../testing/sample-objects.ts";
import { keyOf, sameObject } from "./objects.ts";
import { Reconciler } from "./reconciler.ts";

/** The keys of whatever the kernel holds but settings. */
const held = (kernel: MemoryKernel) =>
  [...kernel.objects.values()]
    .filter(({ kind }) => kind !== "setting")
    .map(keyOf)
    .sort();

test("creates everything, and then has nothing to do", async (t) => {
  const { kernel, hold, status } = startReconciler(t);
  await hold(stateFor(2, 3));
  assert.deepEqual(held(kernel), [...stateFor(2, 3).keys()].sort());
  assert.equal(status().converged, true);
  const { length } = kernel.operations;
  await hold(stateFor(2, 3));
  assert.equal(kernel.operations.length, length);
  assert.equal(status().repairs, 0, "own work is no repair");
});

test("a changed peer costs only the changes of its entries", async (t) => {
  const { kernel, hold } = startReconciler(t);
  await hold(stateFor(2, 3));
  const { length } = kernel.operations;
  await hold(stateOf([...stateFor(2).values(), ...peerObjects(3, 9)]));
  assert.deepEqual(
    kernel.operations.slice(length).map(({ action, object }) => `${action} ${object.kind}`),
    ["create fdb", "replace neighbour", "remove fdb"],
  );
});

test("W43 a further peer costs its own entries, and no observation of the others", async (t) => {
  const { kernel, hold } = startReconciler(t);
  await hold(stateFor(2));
  const { looks } = kernel;
  for (const last of [3, 4, 5, 6]) {
    const { length } = kernel.operations;
    await hold(stateFor(...Array.from({ length: last - 1 }, (_, index) => index + 2)));
    assert.equal(kernel.operations.length - length, 3);
  }
  assert.equal(kernel.looks, looks);
});

test("W18 W19 deleted objects are restored, and each repair is reported", async (t) => {
  const { kernel, hold, log, status } = startReconciler(t);
  const state = stateFor(2, 3);
  await hold(state);
  for (const object of [...state.values()].reverse()) {
    kernel.delete(object);
    await settle();
    assert.deepEqual(held(kernel), [...state.keys()].sort(), `after ${keyOf(object)}`);
  }
  assert.ok(status().repairs >= state.size);
  assert.ok(log.some((line) => line.startsWith("W Repaired drift")));
});

test("W18 W19 a restored object is a repair if an equal target was set meanwhile, and none if another was", async (t) => {
  const { kernel, hold, status } = startReconciler(t);
  const state = stateFor(2, 3);
  await hold(state);
  const device = [...state.values()].find(({ kind }) => kind === "link")!;
  kernel.delete(device);
  await hold(stateFor(2, 3)); // as the agent does when the host's interfaces change
  assert.deepEqual(held(kernel), [...state.keys()].sort());
  const { repairs } = status();
  assert.ok(repairs > 0, "a device and what was on it");
  await hold(stateFor(2, 3, 4));
  assert.equal(status().repairs, repairs);
});

test("W21 after an overrun everything is observed again", async (t) => {
  const { kernel, hold, timers } = startReconciler(t);
  await hold(stateFor(2));
  const { looks } = kernel;
  kernel.overrun();
  await settle();
  assert.equal(kernel.looks, looks + 1);
  await timers.advance(RESYNC_MS - 1);
  assert.equal(kernel.looks, looks + 1, "nothing else makes it look");
  await timers.advance(1);
  assert.equal(kernel.looks, looks + 2, "but the slow timer");
});

test("W41 removes nothing until the peers are known", async (t) => {
  const kernel = new MemoryKernel();
  for (const object of stateFor(2, 9).values()) kernel.put(object);
  const { hold, status } = startReconciler(t, kernel);
  await hold(stateOf([LINK]), true);
  assert.equal(status().converged, true);
  assert.deepEqual(kernel.operations, []);
  await hold(stateFor(2));
  assert.deepEqual(held(kernel), [...stateFor(2).keys()].sort());
  assert.equal(kernel.operations.length, 3);
});

test("W24 a refused operation delays no other, is logged at its second failure, and retried at growing intervals", async (t) => {
  const { kernel, hold, timers, log, status } = startReconciler(t);
  kernel.refuse = ({ object }) =>
    keyOf(object) === "route 10.5.2.0/24" ? new FlannelError("EPERM", "not permitted") : undefined;
  await hold(stateFor(2, 3));
  assert.deepEqual(
    held(kernel),
    [...stateFor(2, 3).keys()].filter((key) => key !== "route 10.5.2.0/24").sort(),
  );
  assert.equal(status().converged, false);
  assert.match(status().problems.join(), /failed to create route 10\.5\.2\.0\/24.*: not permitted/);
  const errors = () => log.filter((line) => line.startsWith("E"));
  await timers.advance(20_000);
  assert.equal(errors().length, 1);
  const tries = kernel.operations.filter(({ object }) => keyOf(object) === "route 10.5.2.0/24").length;
  assert.ok(tries > 4 && tries < 20, `${tries} tries in 20 s`);
  kernel.refuse = () => undefined;
  await timers.advance(31_000);
  assert.equal(status().converged, true);
});

test("F25 a foreign route that replaces ours is replaced in turn, at growing intervals if it comes again", async (t) => {
  const { kernel, hold, timers, status, log } = startReconciler(t);
  await hold(stateFor(2, 3));
  const isOurs = () => sameObject(kernel.objects.get("route 10.5.2.0/24")!, routeTo(2));
  kernel.put(theirRouteTo(2));
  await settle();
  assert.ok(isOurs(), "at once");
  const pausesMs: number[] = [];
  for (let round = 0; round < 5; round++) {
    kernel.put(theirRouteTo(2));
    await settle();
    assert.equal(status().converged, false);
    assert.match(status().problems.join(), /something keeps replacing route 10\.5\.2\.0\/24/);
    const startedMs = timers.nowMs();
    while (!isOurs()) await timers.advance(50);
    pausesMs.push(timers.nowMs() - startedMs);
  }
  assert.deepEqual(pausesMs, [100, 200, 400, 800, 1600]);
  assert.equal(log.filter((line) => line.startsWith("E Something keeps replacing")).length, 5);
  await timers.advance(120_000);
  kernel.put(theirRouteTo(2));
  await settle();
  assert.ok(isOurs(), "at once again after a time of peace");
});

test("F19 a repair took as long as the object was lost, also where its repair was postponed or refused", async (t) => {
  const { kernel, hold, timers, repairs } = startReconciler(t);
  await hold(stateFor(2, 3));
  const tookMs = () => repairs.at(-1)!.tookMs.get("route 10.5.2.0/24");
  kernel.put(theirRouteTo(2));
  await settle();
  assert.equal(tookMs(), 0);
  kernel.put(theirRouteTo(2));
  await timers.advance(100);
  assert.equal(repairs.length, 2);
  assert.equal(tookMs(), 100, "postponed");
  kernel.refuse = ({ object }) =>
    keyOf(object) === "route 10.5.2.0/24" ? new FlannelError("EINVAL", "refused") : undefined;
  kernel.delete(routeTo(2));
  await timers.advance(51_000);
  assert.equal(repairs.length, 2);
  kernel.refuse = () => undefined;
  await timers.advance(30_000);
  assert.equal(repairs.length, 3);
  assert.ok(tookMs()! >= 51_000, `${tookMs()} ms`);
});

test("F25 a route that we removed ourselves is not reclaimed from a foreign one", async (t) => {
  const { kernel, hold, timers } = startReconciler(t);
  await hold(stateFor(2, 3));
  await hold(stateFor(3));
  kernel.put(theirRouteTo(2));
  await hold(stateFor(2, 3));
  await timers.advance(10_000);
  assert.deepEqual(kernel.objects.get("route 10.5.2.0/24"), theirRouteTo(2));
});

test("F10 an operation that was refused for long is retried as soon as something on the host changes", async (t) => {
  const { kernel, hold, timers, status } = startReconciler(t);
  let isBlocked = true;
  kernel.refuse = ({ object }) =>
    isBlocked && keyOf(object) === "route 10.5.2.0/24"
      ? new FlannelError("EEXIST", "there is one")
      : undefined;
  await hold(stateFor(2, 3));
  await timers.advance(40_000);
  isBlocked = false;
  await settle();
  assert.equal(status().converged, false);
  kernel.elsewhere();
  await timers.advance(200);
  assert.equal(status().converged, true);
});

test("F10 a port that another program holds is retried every second", async (t) => {
  const kernel = new MemoryKernel();
  let isHeld = true;
  kernel.refuse = ({ object }) =>
    isHeld && object.kind === "link" ? new FlannelError("EADDRINUSE", "in use") : undefined;
  const { hold, timers, status } = startReconciler(t, kernel);
  await hold(stateFor(2));
  await timers.advance(40_000);
  isHeld = false;
  await timers.advance(1_000);
  assert.equal(status().converged, true);
});

test("a foreign route with our destination is reported and not touched; ours is created as soon as it goes", async (t) => {
  const kernel = new MemoryKernel();
  kernel.put(theirRouteTo(2));
  const { hold, timers, status } = startReconciler(t, kernel);
  await hold(stateFor(2, 3));
  await timers.advance(10_000);
  assert.equal(status().converged, false);
  assert.deepEqual(kernel.objects.get("route 10.5.2.0/24"), theirRouteTo(2));
  kernel.delete(theirRouteTo(2));
  await settle();
  assert.deepEqual(kernel.objects.get("route 10.5.2.0/24"), routeTo(2));
  assert.equal(status().converged, true);
});

test("W23 a foreign device of our name is logged once and not touched; everything is created when it goes", async (t) => {
  const kernel = new MemoryKernel();
  kernel.put(BRIDGE);
  kernel.put({ kind: "address", device: "flannel.1", address: "10.5.77.1/24" });
  const { hold, log, status } = startReconciler(t, kernel);
  await hold(stateFor(), true); // before the peers are known
  await hold(stateFor(2));
  assert.deepEqual(kernel.operations, []);
  assert.equal(log.filter((line) => line.startsWith("E")).length, 1);
  kernel.delete(BRIDGE);
  await settle();
  assert.deepEqual(held(kernel), [...stateFor(2).keys()].sort());
  assert.deepEqual(status().problems, []);
});

test("a kernel that does not answer is retried", async (t) => {
  const { kernel, hold, timers, status } = startReconciler(t);
  kernel.failure = new FlannelError("ETIMEDOUT", "no answer");
  await hold(stateFor(2));
  assert.match(status().problems.join(), /the kernel does not answer: no answer/);
  await timers.advance(5000);
  assert.equal(kernel.operations.length, 0);
  kernel.failure = undefined;
  await timers.advance(2000);
  assert.equal(status().converged, true);
});

test("an error that is not the kernel's ends the run", async () => {
  const kernel = new MemoryKernel();
  kernel.observe = () => Promise.reject(new TypeError("a bug"));
  const timers = new FakeTimers();
  const logger = { info() {}, warn() {}, error() {}, debug() {} };
  const reconciler = new Reconciler({
    providers: [kernel],
    logger,
    timers,
    resyncIntervalMs: RESYNC_MS,
    onRepair() {},
  });
  reconciler.setTarget({ state: stateFor(), ownership: OWNERSHIP, keepOthers: false });
  await assert.rejects(reconciler.run(new AbortController().signal), /a bug/);
});

test("stopping is prompt and leaves everything as it is", async (t) => {
  const { kernel, hold, end, reconciler } = startReconciler(t);
  await hold(stateFor(2));
  const before = held(kernel);
  await end();
  assert.deepEqual(held(kernel), before);
  await reconciler.whenConverged(AbortSignal.abort());
});
