/**
 * docs/differences-from-flannel.md claims behaviours by number; tests show them. What is called built has a test that
 * bears the number, and what has such a test is not called planned.
 */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Status by number, from the table: "| [W18](#w18) | … | built |". */
const claims = new Map(
  [
    ...readFileSync(join(root, "docs/differences-from-flannel.md"), "utf8").matchAll(
      /^\| \[(W\d+)\]\(#w\d+\) \|.*\| (built|in part|planned) \|$/gm,
    ),
  ].map(([, number, status]) => [number!, status!]),
);

/** Numbers in the names of tests: test("W18 W19 …"). */
const shown = new Set<string>();
for (const file of globSync(["src/**/*.test.ts", "test/**/*.test.ts", "test/**/*.suite.ts"], { cwd: root })) {
  for (const [, name] of readFileSync(join(root, file), "utf8").matchAll(
    /\b(?:test|it|describe)\(\s*(["`].*)/g,
  )) {
    for (const [number] of name!.matchAll(/\bW\d+\b/g)) shown.add(number);
  }
}

test("the table holds every number from W1 to W45", () => {
  const numbers = Array.from({ length: 45 }, (_, index) => `W${index + 1}`);
  assert.deepEqual([...claims.keys()].sort(), numbers.sort());
});

test("what is called built has a test of its number", () => {
  const unproven = [...claims].filter(([number, status]) => status === "built" && !shown.has(number));
  assert.deepEqual(unproven, []);
});

test("what has a test of its number is not called planned", () => {
  const modest = [...claims].filter(([number, status]) => status === "planned" && shown.has(number));
  assert.deepEqual(modest, []);
});
