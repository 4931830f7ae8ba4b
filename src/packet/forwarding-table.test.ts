import assert from "node:assert/strict";
import { test } from "node:test";
import { Chance } from "../testing/random-packets.ts";
import {
  buildForwardingTable,
  type ForwardingEntry,
  isPeer,
  lookUpPeer,
  NO_PEER,
} from "./forwarding-table.ts";

const maskOf = (length: number): number => (-1 << (32 - length)) >>> 0;

/** The reference: a linear search for the longest matching prefix. */
function slowLookUp(entries: readonly ForwardingEntry[], address: number): number {
  let best: ForwardingEntry | undefined;
  for (const entry of entries) {
    const fits = (address & maskOf(entry.length)) >>> 0 === entry.base;
    if (fits && (best === undefined || entry.length >= best.length)) best = entry;
  }
  return best?.peer ?? NO_PEER;
}

test("finds what a linear search finds: subnets of one length and of many, also nested", () => {
  const chance = new Chance(7);
  for (let round = 0; round < 60; round++) {
    const lengths = round % 2 === 0 ? [24] : [8, 16, 22, 24, 28, 32];
    const entries = Array.from({ length: chance.below(80) }, (): ForwardingEntry => {
      const length = chance.pick(lengths);
      const address = (0x0a000000 + chance.below(2 ** 20)) >>> 0;
      return { base: (address & maskOf(length)) >>> 0, length, peer: 1 + chance.below(2 ** 32 - 1) };
    });
    const table = buildForwardingTable(entries);
    for (let times = 0; times < 300; times++) {
      const near = entries.length > 0 && chance.oneIn(2) ? chance.pick(entries).base + chance.below(300) : 0;
      const address = (near || 0x0a000000 + chance.below(2 ** 21)) >>> 0;
      assert.equal(lookUpPeer(table, address), slowLookUp(entries, address));
    }
    for (const { peer } of entries) assert.ok(isPeer(table, peer));
    assert.equal(isPeer(table, 0), false);
  }
});

test("addresses above 127.255.255.255 are numbers without a sign", () => {
  const table = buildForwardingTable([{ base: 0xc0a80500, length: 24, peer: 0xfffffffe }]);
  assert.equal(lookUpPeer(table, 0xc0a805ff), 0xfffffffe);
  assert.equal(lookUpPeer(table, 0xc0a80600), NO_PEER);
  assert.ok(isPeer(table, 0xfffffffe));
});

test("5,000 peers are found with about as many probes as one", () => {
  const entries = Array.from({ length: 5000 }, (_, index) => ({
    base: 0x0a000000 + (index << 8),
    length: 24,
    peer: 0xc0a80001 + index,
  }));
  const table = buildForwardingTable(entries);
  const { slots, slotMask } = table;
  let longest = 0;
  let run = 0;
  for (let slot = 0; slot <= slotMask; slot++) {
    run = slots[slot * 3 + 1] === 0 ? 0 : run + 1;
    longest = Math.max(longest, run);
  }
  assert.ok(longest < 50, `${longest} slots taken in a row`);
  for (const { base, peer } of entries) assert.equal(lookUpPeer(table, base + 200), peer);
});
