import assert from "node:assert/strict";
import { test } from "node:test";
import { OnceFilter } from "./once-filter.ts";

test("each distinct message is new once, also when two alternate", () => {
  const filter = new OnceFilter();
  assert.deepEqual(
    ["a", "a", "b", "a", "b", "c"].map((message) => filter.isNew(message)),
    [true, false, true, false, false, true],
  );
});

test("after a reset everything is new again", () => {
  const filter = new OnceFilter();
  filter.isNew("a");
  filter.reset();
  assert.equal(filter.isNew("a"), true);
});

test("remembers the latest 100 messages, a repeated one counting as late", () => {
  const filter = new OnceFilter();
  filter.isNew("again and again");
  for (let port = 0; port < 1_000; port++) {
    filter.isNew(`port ${port}`);
    assert.equal(filter.isNew("again and again"), false);
  }
  assert.equal(filter.isNew("port 999"), false);
  assert.equal(filter.isNew("port 0"), true);
});
