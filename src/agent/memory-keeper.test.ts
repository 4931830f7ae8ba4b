import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeTimers } from "../testing/fake-timers.ts";
import { createStartLimit, keepMemoryLow } from "./memory-keeper.ts";

const MB = 1024 * 1024;

test("memory is given back after the start, and whenever it has grown since", async () => {
  const timers = new FakeTimers();
  const stop = new AbortController();
  let resident = 120 * MB;
  let releases = 0;
  const memory = {
    residentBytes: () => resident,
    release: () => {
      releases++;
      resident = 50 * MB;
    },
    trim() {},
    unmap() {},
  };
  const done = keepMemoryLow(memory, timers, stop.signal);
  const after = async (ms: number, nowBytes = resident): Promise<number> => {
    resident = nowBytes;
    await timers.advance(ms);
    return releases;
  };
  assert.equal(await after(999), 0);
  assert.equal(await after(1), 1);
  assert.equal(await after(2_000, 70 * MB), 1, "what is in use comes back");
  assert.equal(await after(2_000, 85 * MB), 1, "no more than comes and goes");
  assert.equal(await after(2_000, 87 * MB), 2);
  assert.equal(await after(1_999, 200 * MB), 2, "not more often than every two seconds");
  assert.equal(await after(1), 2, "this is what is in use now");
  assert.equal(await after(2_000, 60 * MB), 2, "and this, later");
  assert.equal(await after(2_000, 77 * MB), 3);
  stop.abort();
  await done;
});

test("pages of code that ran once are unmapped, at most every ten seconds", async () => {
  const timers = new FakeTimers();
  const stop = new AbortController();
  let resident = 50 * MB;
  let unmapped = 0;
  const memory = { residentBytes: () => resident, release() {}, trim() {}, unmap: () => void unmapped++ };
  const done = keepMemoryLow(memory, timers, stop.signal);
  const after = async (ms: number, nowBytes: number): Promise<number> => {
    resident = nowBytes;
    await timers.advance(ms);
    return unmapped;
  };
  assert.equal(await after(1_000, 50 * MB), 0);
  assert.equal(await after(2_000, 40 * MB), 0);
  assert.equal(await after(2_000, 43 * MB), 0, "as much as comes and goes");
  assert.equal(await after(2_000, 47 * MB), 0, "while it grows, more is needed");
  assert.equal(await after(2_000, 47 * MB), 1);
  assert.equal(await after(2_000, 41 * MB), 1, "what is in use comes back");
  assert.equal(await after(2_000, 45 * MB), 1);
  assert.equal(await after(2_000, 45 * MB), 1, "too soon");
  assert.equal(await after(4_000, 45 * MB), 2);
  stop.abort();
  await done;
});

test("F21 a start is trimmed above its limit, and again only after it has grown by much", () => {
  let resident = 60 * MB;
  let trims = 0;
  const limit = createStartLimit({
    residentBytes: () => resident,
    release() {},
    unmap() {},
    trim() {
      trims++;
      resident = 50 * MB;
    },
  });
  const at = (nowBytes: number): number => {
    resident = nowBytes;
    limit();
    return trims;
  };
  assert.equal(at(64 * MB), 0);
  assert.equal(at(65 * MB), 1);
  assert.equal(at(97 * MB), 1, "less than the growth that is worth a pause");
  assert.equal(at(99 * MB), 2);
});
