import assert from "node:assert/strict";
import { test } from "node:test";
import { Chance } from "../testing/random-packets.ts";
import { checksum } from "../testing/slow-ip.ts";
import { createPacketMemory } from "./packet-memory.ts";

test("sums as RFC 1071 does: every length and alignment that code paths differ in, and the longest", () => {
  const memory = createPacketMemory(256 * 1024);
  const chance = new Chance(1);
  memory.bytes.set(chance.bytes(140_000));
  const check = (offset: number, length: number) =>
    assert.equal(
      memory.sum(offset, length),
      0xffff - checksum(memory.bytes.subarray(offset, offset + length)),
      `${length} bytes at ${offset}`,
    );
  for (let length = 0; length < 200; length++)
    for (const offset of [0, 1, 2, 3, 7, 16]) check(offset, length);
  for (let times = 0; times < 200; times++) check(chance.below(1000), chance.below(65536));
  memory.bytes.fill(0xff);
  check(0, 65535);
  check(1, 128 * 1024);
});

test("reservations do not overlap, and a full memory is an error", () => {
  const memory = createPacketMemory(64 * 1024);
  const first = memory.reserve(10);
  const second = memory.reserve(100);
  assert.deepEqual([first, second, memory.reserve(1)], [0, 64, 192]);
  assert.throws(() => memory.reserve(64 * 1024), RangeError);
});
