import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasCode } from "../../base/error.ts";
import { annotationNames } from "./annotations.ts";
import { packedNodeReader } from "./node-record.ts";
import { readEvents, type WatchEvent } from "./watch-events.ts";

const read = packedNodeReader(annotationNames("flannel.alpha.coreos.com"));

const bodyOf = (chunks: Iterable<Buffer>) => ({
  patienceMs: 60_000,
  async *[Symbol.asyncIterator]() {
    yield* chunks;
  },
});

async function collect(chunks: Iterable<Buffer>): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of readEvents(bodyOf(chunks), read, 1_000)) seen.push(describe(event));
  return seen;
}

const describe = (event: WatchEvent<{ readonly name: string }>): string =>
  event.type === "bookmark"
    ? `bookmark ${event.version}`
    : `${event.type} ${event.object?.name} ${event.version}`;

const line = (type: string, name: string, version: number): string =>
  `${JSON.stringify({ type, object: { metadata: { name, resourceVersion: String(version) } } })}\n`;

const TEXT =
  line("ADDED", "n1", 1) +
  line("MODIFIED", "n2-ü", 2) +
  `\n${JSON.stringify({ type: "BOOKMARK", object: { kind: "Node", metadata: { resourceVersion: "9" } } })}\n` +
  line("DELETED", "n1", 11);

test("events are complete, wherever the chunks end", async () => {
  const bytes = Buffer.from(TEXT);
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(fc.nat(bytes.length)), async (cuts) => {
      const ends = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const chunks = ends.slice(1).map((end, index) => bytes.subarray(ends[index], end));
      assert.deepEqual(await collect(chunks), ["put n1 1", "put n2-ü 2", "bookmark 9", "delete n1 11"]);
    }),
  );
});

test("the end of the stream within an event is an error", async () => {
  await assert.rejects(collect([Buffer.from(TEXT.slice(0, -10))]), (error) => hasCode(error, "UNAVAILABLE"));
});

test("an ERROR event: compacted history, or another Status", async () => {
  const error = (object: object) => collect([Buffer.from(`${JSON.stringify({ type: "ERROR", object })}\n`)]);
  for (const status of [
    { code: 410, message: "too old" },
    { reason: "Expired" },
    { reason: "Gone", code: 410 },
  ]) {
    await assert.rejects(error(status), (thrown) => hasCode(thrown, "COMPACTED"));
  }
  await assert.rejects(
    error({ code: 500, message: "etcd is\n\u001b[31maway" }),
    (thrown) =>
      hasCode(thrown, "UNAVAILABLE") && /ended the watch: etcd is\\n\\x1b\[31maway$/.test(String(thrown)),
  );
  await assert.rejects(error({}), /an error \(undefined\)/);
});

test("a malformed event is rejected", async () => {
  for (const junk of [
    "7",
    "[]",
    "{}",
    '{"type":"ADDED","object":7}',
    '{"type":"ERROR"}{"a":1}',
    `${TEXT.split("\n")[0]} x`,
  ]) {
    await assert.rejects(
      collect([Buffer.from(`${junk}\n`)]),
      (error) => hasCode(error, "INVALID") && /malformed event/.test(String(error)),
      junk,
    );
  }
});

test("a bookmark shortens the silence limit, and never extends it", async () => {
  const patienceAfter = async (text: string, silenceMs: number) => {
    const body = bodyOf([Buffer.from(text)]);
    for await (const event of readEvents(body, read, silenceMs)) assert.ok(event);
    return body.patienceMs;
  };
  assert.equal(await patienceAfter(TEXT, 1_000), 1_000);
  assert.equal(await patienceAfter(line("ADDED", "n1", 1), 1_000), 60_000);
  assert.equal(await patienceAfter(TEXT, 70_000), 60_000);
});
