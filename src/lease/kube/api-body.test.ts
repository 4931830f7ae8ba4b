import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { test } from "node:test";
import { hasCode, messageOf, StoreError } from "../../base/error.ts";
import { Silence } from "../network-failure.ts";
import { ApiBody } from "./api-body.ts";

function makeBody(patienceMs: number) {
  const message = new Readable({ read() {} }) as IncomingMessage;
  const describe = (error: unknown) =>
    new StoreError("UNAVAILABLE", error instanceof Silence ? "silence" : messageOf(error));
  return { message, body: new ApiBody(message, describe, patienceMs) };
}

async function read(body: ApiBody, take: (text: string) => void = () => {}): Promise<void> {
  for await (const chunk of body) take(chunk.toString());
}

test("yields chunks until the end", async () => {
  const { message, body } = makeBody(60_000);
  message.push("a");
  const seen: string[] = [];
  const reading = read(body, (text) => {
    seen.push(text);
    message.push(text === "a" ? "b" : null);
  });
  await reading;
  assert.deepEqual(seen, ["a", "b"]);
});

test("a silent body ends, counted from the last chunk or from when the limit was shortened", {
  timeout: 10_000,
}, async () => {
  for (const [before, later] of [
    [50, undefined],
    [5_000, 50],
  ] as const) {
    const { message, body } = makeBody(before);
    message.push("a");
    const sinceMs = performance.now();
    const reading = read(body, () => {
      if (later !== undefined) body.patienceMs = later;
    });
    await assert.rejects(reading, (error) => hasCode(error, "UNAVAILABLE") && /silence/.test(String(error)));
    assert.ok(performance.now() - sinceMs < 4_000);
  }
});

test("errors of the connection are described; errors of the reader are not", async () => {
  const { message, body } = makeBody(60_000);
  message.push("a");
  await assert.rejects(
    read(body, () => message.destroy(new Error("torn"))),
    (error) => hasCode(error, "UNAVAILABLE") && /torn/.test(String(error)),
  );
  const other = makeBody(60_000);
  other.message.push("a");
  await assert.rejects(
    read(other.body, () => {
      throw new TypeError("bug");
    }),
    TypeError,
  );
  assert.ok(other.message.destroyed);
});

test("an error before the first read is thrown by that read", async () => {
  const { message, body } = makeBody(60_000);
  message.destroy(new Error("torn"));
  await new Promise((resolve) => message.once("close", resolve));
  await assert.rejects(read(body), /torn|Premature close|aborted/);
});
