import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasCode } from "../../base/error.ts";
import { readList } from "./list-reader.ts";

async function collect(text: string | Buffer, cuts: readonly number[] = []) {
  const bytes = Buffer.from(text);
  const ends = [0, ...[...cuts].sort((a, b) => a - b), bytes.length];
  const chunks = ends.slice(1).map((end, index) => bytes.subarray(ends[index], end));
  const items: unknown[] = [];
  const meta = await readList(
    (async function* () {
      yield* chunks;
    })(),
    (reader) => items.push(reader.value()),
    "nodes",
  );
  return { ...meta, items };
}

test("items come one by one, wherever the chunks end and whatever they contain", async () => {
  const item = fc.dictionary(fc.string(), fc.jsonValue());
  await fc.assert(
    fc.asyncProperty(
      fc.array(item),
      fc.array(fc.nat(200)),
      fc.constantFrom(0, 2),
      async (items, cuts, indent) => {
        const text = JSON.stringify(
          { kind: "NodeList", metadata: { resourceVersion: "7", continue: "abc", other: [] }, items },
          undefined,
          indent,
        );
        const bounded = cuts.filter((cut) => cut < text.length);
        const read = await collect(text, bounded);
        // JSON has no -0.
        assert.deepEqual(read, { version: "7", next: "abc", items: JSON.parse(JSON.stringify(items)) });
      },
    ),
  );
});

test("an empty list", async () => {
  for (const items of ["", ',"items":[]', ',"items":null']) {
    assert.deepEqual(await collect(`{"metadata":{"resourceVersion":"7"}${items}}`), {
      version: "7",
      next: "",
      items: [],
    });
  }
});

test("an item beyond the size limit is not buffered to its end", async () => {
  const text = `{"metadata":{"resourceVersion":"7"},"items":[{"x":"${"x".repeat(5 << 20)}"}]}`;
  const cuts = Array.from({ length: 80 }, (_, index) => index * (64 << 10));
  await assert.rejects(collect(text, cuts), (error) => hasCode(error, "INVALID"));
});

test("a malformed or truncated list is rejected", async () => {
  const whole = '{"metadata":{"resourceVersion":"7"},"items":[{"a":1},{"b":2}]}';
  const cut = Array.from({ length: whole.length }, (_, length) => whole.slice(0, length));
  const junk = [
    ...[
      "7",
      "[]",
      "[{}]",
      "<html>",
      "{}",
      '{"metadata":7}',
      '{"metadata":{"resourceVersion":7}}',
      "]]]",
      '"',
    ],
    `${whole}}`,
    '{"metadata":{"resourceVersion":"7"},"items":[{]}]}',
    '{"metadata":{"resourceVersion":"7"},"items":[7]}{',
    `{"metadata":{"resourceVersion":"7"},"x":"${"x".repeat(100_000)}"}`,
  ];
  for (const text of [...cut, ...junk]) {
    await assert.rejects(
      collect(text),
      (error) => hasCode(error, "INVALID") && /is malformed; check its address/.test(String(error)),
      text.slice(0, 80),
    );
  }
});
