/** The documents that exist in English and Chinese have the same commands, with the same outputs, in the same order. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readSteps } from "../support/walkthrough.ts";

const ROOT = join(import.meta.dirname, "../..");

test("both READMEs have the same commands", () => {
  const [english, chinese] = ["README.md", "README.zh-CN.md"].map((file) =>
    readFileSync(join(ROOT, file), "utf8")
      .split("\n")
      .filter((line) => /^ {4}/.test(line))
      .map((line) => line.replace(/ # .*$/, "").trim())
      .filter((line) => line !== ""),
  );
  assert.deepEqual(chinese, english);
  assert.ok(english!.includes("make demo"));
});

test("the walkthroughs have the same pages in both languages, with the same commands and outputs", () => {
  const [english, chinese] = ["docs/walkthroughs", "docs/zh"].map((folder) => {
    const pages = readdirSync(join(ROOT, folder)).sort();
    return pages.map((page) => {
      const steps = readSteps(join(ROOT, folder, page));
      return [page, steps.map(({ host, command, output }) => ({ host, command, output }))] as const;
    });
  });
  assert.deepEqual(chinese, english);
  assert.equal(english!.filter(([, steps]) => steps.length > 10).length, 5);
});
