import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { WakeSignal } from "./wake-signal.ts";

test("a wait ends when woken, when its time is over, or when aborted", async () => {
  const timers = new FakeTimers();
  const wake = new WakeSignal();
  const abort = new AbortController();
  const wait = () => wake.wait({ timers, timeoutMs: 1_000, signal: abort.signal });

  const woken = wait();
  wake.wake();
  assert.equal(await woken, "woken");

  const timedOut = wait();
  await timers.advance(999);
  assert.equal(timers.nextMs, 1);
  await timers.advance(1);
  assert.equal(await timedOut, "timeout");

  const aborted = wait();
  abort.abort();
  assert.equal(await aborted, "aborted");
  assert.equal(await wait(), "aborted");
});

test("a wake-up before the wait is not lost, and several count as one", async () => {
  const timers = new FakeTimers();
  const wake = new WakeSignal();
  wake.wake();
  wake.wake();
  assert.equal(await wake.wait({ timers, timeoutMs: 0 }), "woken");
  assert.equal(await wake.wait({ timers, timeoutMs: 0 }), "timeout");
});

test("an aborted wait keeps the pending wake-up", async () => {
  const wake = new WakeSignal();
  wake.wake();
  assert.equal(await wake.wait({ signal: AbortSignal.abort() }), "aborted");
  assert.equal(await wake.wait(), "woken");
});

test("one wake-up ends all waits under way and no later one", async () => {
  const timers = new FakeTimers();
  const wake = new WakeSignal();
  const waits = [wake.wait(), wake.wait({ timers, timeoutMs: 5_000 })];
  wake.wake();
  assert.deepEqual(await Promise.all(waits), ["woken", "woken"]);
  assert.equal(await wake.wait({ timers, timeoutMs: -1 }), "timeout");
});

test("without a limit a wait lasts until woken", async () => {
  const timers = new FakeTimers();
  for (const timeoutMs of [undefined, Number.POSITIVE_INFINITY]) {
    const wake = new WakeSignal();
    let reason: string | undefined;
    void wake.wait({ timers, timeoutMs }).then((given) => {
      reason = given;
    });
    await timers.advance(1e12);
    assert.equal(reason, undefined);
    wake.wake();
    await settle();
    assert.equal(reason, "woken");
  }
});

test("no timer and no listener outlives a wait", async () => {
  const timers = new FakeTimers();
  const wake = new WakeSignal();
  const { signal } = new AbortController();
  for (let round = 0; round < 3; round++) {
    const woken = wake.wait({ timers, timeoutMs: 1_000, signal });
    wake.wake();
    await woken;
    const timedOut = wake.wait({ timers, timeoutMs: 1_000, signal });
    await timers.advance(1_000);
    await timedOut;
  }
  assert.equal(timers.nextMs, undefined);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});
