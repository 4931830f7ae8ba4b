import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasCode } from "../../base/error.ts";
import { FrameReader, frame } from "./grpc-frames.ts";

test("messages are complete, however the bytes are split", () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 10 });
  const property = fc.property(messages, fc.array(fc.integer({ min: 1, max: 20 })), (sent, cuts) => {
    const bytes = Buffer.concat(sent.map(frame));
    const reader = new FrameReader(100);
    const received: Buffer[] = [];
    let at = 0;
    for (const length of [...cuts, bytes.length]) {
      for (const message of reader.push(bytes.subarray(at, at + length))) received.push(Buffer.from(message));
      at += length;
    }
    assert.deepEqual(
      received,
      sent.map((message) => Buffer.from(message)),
    );
    assert.equal(reader.isWithinMessage, false);
  });
  fc.assert(property);
});

test("refuses messages that are too large, once the length is known, and compressed ones", () => {
  const refused = (bytes: Buffer, code: string) =>
    assert.throws(
      () => [...new FrameReader(100).push(bytes)],
      (error) => hasCode(error, code),
    );
  refused(Buffer.from([0, 0, 0, 0, 101]), "RESOURCE_EXHAUSTED");
  refused(Buffer.from([0, 255, 255, 255, 255]), "RESOURCE_EXHAUSTED");
  refused(Buffer.from([1, 0, 0, 0, 1, 0]), "UNIMPLEMENTED");
});

test("detects a truncated message", () => {
  const reader = new FrameReader(100);
  assert.deepEqual([...reader.push(Buffer.from([0, 0, 0, 0, 2, 7]))], []);
  assert.equal(reader.isWithinMessage, true);
});
