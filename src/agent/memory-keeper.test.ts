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

test("F21 a start is trimmed above its limit, and again only after it has grown by much", () => {
  let resident = 60 * MB;
  let trims = 0;
  const limit = createStartLimit({
    residentBytes: () => resident,
    release() {},
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
  assert.equal(at(77 * MB), 1, "less than the growth that is worth a pause");
  assert.equal(at(79 * MB), 2);
});
