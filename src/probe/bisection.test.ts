import assert from "node:assert/strict";
import { test } from "node:test";
import { continueBisection, nextSize, startBisection } from "./bisection.ts";

/** The result of a search on a path that carries packets up to `most`, and how many probes it took. */
function search(small: number, full: number, most: number, isLost: (probe: number) => boolean = () => false) {
  let bisection = startBisection(small, full);
  let probes = 0;
  for (let size = nextSize(bisection); size !== undefined; size = nextSize(bisection))
    bisection = continueBisection(bisection, size, size <= most && !isLost(probes++));
  return { found: bisection.passed, probes };
}

test("the search finds every size to the byte", () => {
  for (let most = 84; most < 1_450; most++) assert.equal(search(84, 1_450, most).found, most);
});

test("single losses on the way do not change the result", () => {
  for (let most = 84; most < 1_450; most += 7)
    assert.equal(search(84, 1_450, most, (probe) => probe % 3 === 0).found, most);
});

test("late results of other sizes are taken for what they say, and never turn the search around", () => {
  const search = startBisection(100, 1_000);
  assert.deepEqual(continueBisection(search, 700, true), { passed: 700, failed: 1_000, losses: 0 });
  assert.equal(continueBisection(search, 700, false), search);
  assert.equal(continueBisection(search, 50, true), search);
  assert.deepEqual(continueBisection(search, 1_000, true), { passed: 1_000, failed: 1_001, losses: 0 });
});
