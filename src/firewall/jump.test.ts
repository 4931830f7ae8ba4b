import assert from "node:assert/strict";
import { test } from "node:test";
import { placeJump } from "./jump.ts";

test("a jump anywhere is left alone unless nothing comes that far", () => {
  assert.equal(placeJump(["jump"]), undefined);
  assert.equal(placeJump(["foreign", "jump", "foreign"]), undefined);
  assert.equal(placeJump(["jump", "foreign", "barrier"]), undefined);
  assert.deepEqual(placeJump(["foreign", "barrier", "jump"]), { remove: [2], before: 1 });
});

test("a missing jump goes to the end, or before what ends everything", () => {
  assert.deepEqual(placeJump(["foreign"]), { remove: [], before: undefined });
  assert.deepEqual(placeJump(["foreign", "barrier", "foreign", "barrier"]), { remove: [], before: 1 });
});

test("outdated rules of ours and second jumps go", () => {
  assert.deepEqual(placeJump(["stale", "jump", "foreign"]), { remove: [0, 1], before: undefined });
  assert.deepEqual(placeJump(["jump", "foreign", "jump"]), { remove: [0, 2], before: undefined });
  assert.deepEqual(placeJump(["stale"]), { remove: [0], before: undefined });
});
