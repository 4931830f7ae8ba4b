import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { releaseMemory } from "./release-memory.ts";

const residentFileMb = (): number =>
  Number(/^RssFile:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))![1]) / 1000;

test("the executable's pages are given back, and what is used comes back as it was", () => {
  const digest = () => createHash("sha512").update("abc").digest("hex");
  const before = digest();
  const beforeMb = residentFileMb();
  releaseMemory();
  const afterMb = residentFileMb();
  assert.ok(afterMb < beforeMb * 0.7, `${beforeMb} MB, then ${afterMb} MB`);
  assert.equal(digest(), before);
  assert.deepEqual(structuredClone(JSON.parse('{"a":[1,{"b":"ü"}]}')), { a: [1, { b: "ü" }] });
  releaseMemory();
  assert.equal(new Intl.NumberFormat("de").format(1234.5), "1.234,5");
});
