import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeSourceTable, type SourceEntry, SourceTable } from "./source-table.ts";

const entry = (bundleLine: number, bundleColumn: number, file: string, line: number): SourceEntry => ({
  bundleLine,
  bundleColumn,
  file,
  line,
});

const ENTRIES = [
  entry(2, 0, "", 0),
  entry(3, 2, "main.ts", 10),
  entry(4, 2, "main.ts", 11), // implied by the one before
  entry(5, 2, "main.ts", 20),
  entry(5, 30, "main.ts", 21), // several source lines on one line of the bundle
  entry(6, 0, "run.ts", 1),
  entry(9, 0, "", 0),
];

test("finds the source of each position, also between and after entries", () => {
  const table = new SourceTable(encodeSourceTable(ENTRIES));
  const expected: [number, number, string | undefined][] = [
    [1, 0, undefined],
    [2, 50, undefined],
    [3, 2, "main.ts:10"],
    [3, 99_999, "main.ts:10"],
    [4, 7, "main.ts:11"],
    [5, 29, "main.ts:20"],
    [5, 30, "main.ts:21"],
    [6, 4, "run.ts:1"],
    [8, 4, "run.ts:3"],
    [9, 0, undefined],
    [100_000, 0, undefined],
  ];
  for (const [line, column, source] of expected) assert.equal(table.find(line, column), source);
});

test("a minified bundle has everything on one line: columns far apart are distinguished", () => {
  const entries = Array.from({ length: 500 }, (_, index) =>
    entry(7, index * 3000, `file-${index}.ts`, index),
  );
  const table = new SourceTable(encodeSourceTable(entries));
  for (const { bundleColumn, file, line } of entries.slice(1)) {
    assert.equal(table.find(7, bundleColumn + 2999), `${file}:${line}`);
    assert.notEqual(table.find(7, bundleColumn - 1), `${file}:${line}`);
  }
});

test("what the entry before implies takes no space", () => {
  const lines = Array.from({ length: 5000 }, (_, index) => entry(index + 1, 0, "main.ts", index + 7));
  const table = encodeSourceTable(lines);
  assert.ok(table.length < 50, table);
  assert.equal(new SourceTable(table).find(5000, 3), "main.ts:5006");
});

test("a damaged table finds nothing, or something, but never throws", () => {
  const good = encodeSourceTable(ENTRIES);
  const damaged = ["", ":", " ", "main.ts", ": main.ts", `:${good.split(":")[1]}`, "🦊:🦊"];
  for (let cut = 0; cut < good.length; cut++) damaged.push(good.slice(0, cut), good.slice(cut));
  for (const text of damaged) {
    const table = new SourceTable(text);
    for (const position of [0, 3, 5, 1e9, Number.NaN]) {
      const found = table.find(position, position);
      assert.ok(found === undefined || typeof found === "string");
    }
  }
  assert.equal(new SourceTable("").find(3, 2), undefined);
});
