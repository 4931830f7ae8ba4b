import assert from "node:assert/strict";
import { test } from "node:test";
import { ENDPOINTS } from "./api.ts";
import { readAs } from "./read-as.ts";

const { schema } = ENDPOINTS["/v1/probes"];
const CELL = { peer: "a", family: "ipv4", verdict: "reachable", rttMs: 1 };
const ROW = { host: "h", isProbing: true, cells: [CELL] };

test("members that are not known are dropped, at every depth", () => {
  const newer = JSON.parse(JSON.stringify({ ...ROW, more: 1, cells: [{ ...CELL, more: [] }] }));
  assert.deepEqual(readAs(schema, newer), ROW);
  const hostile = JSON.parse(`{"host":"h","isProbing":true,"cells":[],"__proto__":{"key":"x"}}`);
  assert.deepEqual(readAs(schema, hostile), { ...ROW, cells: [] });
});

test("what is no value of the schema is refused", () => {
  for (const wrong of [
    undefined,
    null,
    [],
    "row",
    { ...ROW, host: undefined },
    { ...ROW, host: 1 },
    { ...ROW, host: "x".repeat(513) },
    { ...ROW, isProbing: "true" },
    { ...ROW, cells: {} },
    { ...ROW, cells: [null] },
    { ...ROW, cells: [{ ...CELL, verdict: "lost" }] },
    { ...ROW, cells: [{ ...CELL, rttMs: "1" }] },
    { ...ROW, cells: Array.from({ length: 10_001 }, () => CELL) },
  ])
    assert.equal(readAs(schema, wrong), undefined, JSON.stringify(wrong)?.slice(0, 80));
});
