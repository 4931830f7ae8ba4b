import assert from "node:assert/strict";
import { test } from "node:test";
import { FlannelError } from "../base/error.ts";
import { FailureBook } from "./failures.ts";
import type { StateOperation } from "./objects.ts";

const OPERATION: StateOperation = {
  action: "create",
  object: { kind: "address", device: "flannel0", address: "10.5.1.0/32" },
};
const ERROR = new FlannelError("EBUSY", "busy");

test("an object that was in place stays a repair however often it is refused; one that never was is none", () => {
  const book = new FailureBook({ nowMs: () => 0, after: () => () => {} }, () => {});
  assert.equal(book.neverWorked(OPERATION), false, "nothing is known of it");
  book.note(OPERATION, ERROR, true);
  book.note(OPERATION, ERROR, false);
  assert.equal(book.neverWorked(OPERATION), false);
  book.forget(OPERATION);
  book.note(OPERATION, ERROR, false);
  book.note(OPERATION, ERROR, true);
  assert.equal(book.neverWorked(OPERATION), true);
});

test("an operation is due when its timer fires, even if early", () => {
  let nowMs = 0;
  let goOff = () => {};
  let wakeUps = 0;
  const after = (_delayMs: number, callback: () => void) => {
    goOff = callback;
    return () => {};
  };
  const book = new FailureBook({ nowMs: () => nowMs, after }, () => wakeUps++);
  assert.equal(book.note(OPERATION, ERROR, false).isFirst, true);
  const first = goOff;
  nowMs = 1;
  assert.equal(book.isDue(OPERATION), true, "the first retry is at once");
  book.note(OPERATION, ERROR, false);
  first();
  assert.equal(book.isDue(OPERATION), false, "an earlier failure's timer says nothing of this one");
  nowMs = 100.2; // 1 + 100 is not over yet
  goOff();
  assert.equal(book.isDue(OPERATION), true);
  assert.equal(wakeUps, 2);
});
