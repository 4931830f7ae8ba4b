import assert from "node:assert/strict";
import { test } from "node:test";
import { printable, printableJson } from "./printable.ts";

test("what commands a terminal or turns the text around is escaped", () => {
  assert.equal(
    printable("a\x1b[2Jb\r\n\tc\x7f\x9b\u202ed\u2028"),
    "a\\x1b[2Jb\\x0d\\n\\tc\\x7f\\x9b\\u202ed\\u2028",
  );
  assert.equal(printable("grüß Gott 日本"), "grüß Gott 日本");
});

test("JSON stays the same JSON", () => {
  const value = { "k\x1b": "a\x1b[2J\x7f\x9b\u202e\u2028\n" };
  const text = printableJson(JSON.stringify(value, undefined, 2));
  assert.deepEqual(JSON.parse(text), value);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]/);
});
