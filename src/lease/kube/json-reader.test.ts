/** The reader against JSON.parse, which is slow and right. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { JsonFault, JsonReader } from "./json-reader.ts";

const read = (text: string, run: (reader: JsonReader) => unknown) => {
  const reader = new JsonReader(Buffer.from(text));
  const result = run(reader);
  reader.end();
  return result;
};

/** Everything, read by the reader's own means. */
function rebuild(reader: JsonReader, like: unknown): unknown {
  if (typeof like === "string") return reader.string();
  if (Array.isArray(like)) {
    const array: unknown[] = [];
    reader.array(() => array.push(rebuild(reader, like[array.length])));
    return array;
  }
  if (typeof like === "object" && like !== null) {
    const members: [string, unknown][] = [];
    reader.object((name) => members.push([name, rebuild(reader, (like as Record<string, unknown>)[name])]));
    return Object.fromEntries(members);
  }
  return reader.value();
}

test("reads everything that JSON.stringify writes, with and without white space", () => {
  fc.assert(
    fc.property(fc.json(), fc.constantFrom(0, 2), (text, indent) => {
      const value: unknown = JSON.parse(text);
      const again = JSON.stringify(value, undefined, indent);
      assert.deepEqual(
        read(again, (reader) => rebuild(reader, value)),
        value,
      );
      read(again, (reader) => reader.skip());
    }),
  );
});

test("truncated JSON is an error", () => {
  fc.assert(
    fc.property(fc.object(), fc.double({ min: 0, max: 0.999, noNaN: true }), (value, part) => {
      const bytes = Buffer.from(JSON.stringify(value));
      const reader = new JsonReader(bytes.subarray(0, Math.floor(bytes.length * part)));
      assert.throws(() => reader.skip(), JsonFault);
    }),
  );
});

test("random bytes are read or rejected", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      for (const run of [
        (reader: JsonReader) => reader.object(() => reader.array(() => void reader.string())),
        (reader: JsonReader) => reader.value(),
      ]) {
        try {
          run(new JsonReader(Buffer.from(bytes)));
        } catch (error) {
          assert.ok(error instanceof JsonFault, String(error));
        }
      }
    }),
  );
});

test("skips values of a type other than requested", () => {
  const seen: unknown[] = [];
  read('{"a":[1,{"b":"]}\\""}],"c":"x","d":{"e":1},"f":null,"g":"ü\\u0041"}', (reader) =>
    reader.object((name) => {
      if (name === "a") reader.object(() => assert.fail());
      else if (name === "d") reader.array(() => assert.fail());
      else seen.push(name, reader.string());
    }),
  );
  assert.deepEqual(seen, ["c", "x", "f", undefined, "g", "üA"]);
});

test("rejects invalid JSON where it reads", () => {
  for (const text of [
    "",
    "{",
    '{"a"}',
    '{"a":1,}',
    '{"a":1 "b":2}',
    "[1 2]",
    "[,]",
    "{a:1}",
    '{"\\x":1}',
    '["a\nb"]',
  ]) {
    assert.throws(
      () =>
        read(text, (reader) =>
          text.startsWith("[") ? reader.array(() => reader.string()) : reader.object(() => reader.value()),
        ),
      JsonFault,
      text,
    );
  }
});
