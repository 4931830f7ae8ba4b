import assert from "node:assert/strict";
import { test } from "node:test";
import { readEcho, SMALL_BYTES, writeEchoRequest } from "./echo.ts";
import { InFlight } from "./in-flight.ts";

/** RFC 1071: the sum over a whole message is all ones. */
function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += (bytes[index]! << 8) | (bytes[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

test("an echo request has the size, the checksum and the numbers that it should have", () => {
  const buffer = new Uint8Array(2_000);
  for (let count = 0; count < 1_000; count++) {
    const echo = {
      identifier: (count * 7_919) & 0xffff,
      sequence: (count * 31) & 0xffff,
      nonce: (count * 0x9e3779b1) >>> 0,
    };
    for (const sizeBytes of [SMALL_BYTES[4], 1_449, 1_450]) {
      const length = writeEchoRequest(buffer, 4, echo, sizeBytes);
      assert.equal(length, sizeBytes - 20);
      assert.equal(sumOf(buffer.subarray(0, length)), 0xffff);
      assert.deepEqual(readEcho(buffer, 4, 0, length), { type: "request", ...echo });
    }
  }
});

test("what is no echo, or too short for one, is not read", () => {
  const buffer = new Uint8Array(100);
  writeEchoRequest(buffer, 6, { identifier: 1, sequence: 2, nonce: 3 }, 104);
  assert.equal(readEcho(buffer, 4, 0, 64), undefined);
  assert.equal(readEcho(buffer, 6, 0, 11), undefined);
  assert.equal(readEcho(buffer, 6, 50, 64), undefined);
  buffer[0] = 129;
  assert.equal(readEcho(buffer, 6, 0, 64)?.type, "reply");
});

test("a probe is found by its sequence number and nonce, once, as long as it is remembered", () => {
  const flight = new InFlight();
  const probe = { slot: 7, path: 1 as const, sizeBytes: 84, sentMs: 100 };
  const first = flight.add(probe, 300, 0xdeadbeef);
  assert.equal(flight.find(first, 0xdeadbeee), undefined);
  assert.equal(flight.find(first + 1, 0xdeadbeef), undefined);
  assert.deepEqual(flight.find(first, 0xdeadbeef), probe);
  assert.equal(flight.take(first, 0xdeadbeef), true);
  assert.equal(flight.find(first, 0xdeadbeef), undefined);
  assert.ok(!flight.isEmpty);
  flight.expire(1_000, () => assert.fail("answered"));
  assert.ok(flight.isEmpty);
  const expired: number[] = [];
  let last = 0;
  for (let count = 0; count < 200_000; count++) {
    last = flight.add({ ...probe, slot: count, sentMs: count }, count + 100, count);
    flight.expire(count, ({ slot }) => expired.push(slot));
  }
  assert.equal(expired.length, 199_900);
  assert.equal(flight.take(last, 199_999), true);
  assert.equal(flight.take((last - 500) & 0xffff, 199_499), false, "expired, but late answers are found");
  assert.equal(flight.find((last - 5_000) & 0xffff, 194_999), undefined, "long ago");
});
