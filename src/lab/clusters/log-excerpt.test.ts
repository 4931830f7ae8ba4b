import assert from "node:assert/strict";
import { test } from "node:test";
import { excerptOf, hasError } from "./log-excerpt.ts";

const KLOG = `I1121 02:12:24.974000   21160 flanneld.ts:37] flanneld v0.1.0
E1121 02:12:24.996000   21160 network.ts:42] No usable network config: [a] b
E1121 02:12:25.996000   21160 network.ts:42] No usable network config: [a] b
F1121 02:12:26.000000   21160 flanneld.ts:50] no usable external interface
`;

test("of flanneld's log the errors, each once, without headers", () => {
  assert.ok(hasError(KLOG));
  assert.deepEqual(excerptOf(KLOG), ["No usable network config: [a] b", "no usable external interface"]);
});

test("of a log without errors the first line and the last ones", () => {
  const lines = Array.from({ length: 50 }, (_, index) => `line ${index}`);
  assert.ok(!hasError(lines.join("\n")));
  assert.deepEqual(excerptOf(`${lines.join("\n")}\n`), [
    "line 0",
    "…",
    ...[44, 45, 46, 47, 48, 49].map((number) => `line ${number}`),
  ]);
  assert.deepEqual(excerptOf("Eating\none\n"), ["Eating", "one"]);
  assert.deepEqual(excerptOf(""), []);
});

test("of a crash what it was, not the whole bundle", () => {
  const crash = `file:///x/flanneld.mjs:2\n${"x".repeat(100_000)}\n     ^\n\nReferenceError: y is not defined\n    at z (a.ts:1:2)\n\nNode.js v26\n`;
  const lines = excerptOf(crash);
  assert.ok(lines.join("").length < 600);
  assert.deepEqual(lines.slice(-2), ["ReferenceError: y is not defined", "Node.js v26"]);
});
