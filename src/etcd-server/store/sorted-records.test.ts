import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isWithin, type KeyRange, rangeOf } from "../protocol/keys.ts";
import { SortedRecords } from "./sorted-records.ts";

interface Entry {
  readonly key: string;
  readonly number: number;
}

/** The slow obvious version. */
class SortedByHand {
  readonly entries = new Map<string, Entry>();
  slice(range: KeyRange): Entry[] {
    return [...this.entries.values()]
      .filter(({ key }) => isWithin(key, range))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}

const key = fc.string({ unit: fc.constantFrom("\0", "a", "b", "\xff"), minLength: 1, maxLength: 4 });

test("equals a sorted list after any sets and deletes", () => {
  const change = fc.record({ key, isDelete: fc.boolean() });
  const range = fc.record({ from: key, to: fc.option(key, { nil: undefined }) });
  const property = fc.property(fc.array(change, { maxLength: 300 }), fc.array(range), (changes, ranges) => {
    const records = new SortedRecords<Entry>();
    const expected = new SortedByHand();
    for (const [number, each] of changes.entries()) {
      if (each.isDelete) {
        records.delete(each.key);
        expected.entries.delete(each.key);
      } else {
        records.set({ key: each.key, number });
        expected.entries.set(each.key, { key: each.key, number });
      }
    }
    assert.equal(records.size, expected.entries.size);
    for (const each of ranges) {
      const wanted = expected.slice(each);
      assert.deepEqual(records.slice(each), wanted);
      assert.deepEqual(records.slice(each, 2), wanted.slice(0, 2));
      assert.equal(records.count(each), wanted.length);
    }
  });
  fc.assert(property);
});

test("keeps thousands of keys in order, added and deleted in any order", () => {
  const records = new SortedRecords<Entry>();
  const expected = new SortedByHand();
  for (let number = 0; number < 20_000; number++) {
    const name = String((number * 7919) % 10_007).padStart(5, "0");
    if (number % 3 === 2) {
      records.delete(name);
      expected.entries.delete(name);
    } else {
      records.set({ key: name, number });
      expected.entries.set(name, { key: name, number });
    }
  }
  for (const range of [
    { from: "", to: undefined },
    { from: "01", to: "09" },
    { from: "05555", to: "05556" },
  ]) {
    assert.deepEqual(records.slice(range), expected.slice(range));
    assert.equal(records.count(range), expected.slice(range).length);
  }
});

test("ranges in etcd's notation: one key, an interval, from a key, all keys", () => {
  const bytes = (text: string) => Buffer.from(text, "latin1");
  const has = (range: KeyRange) =>
    ["\0", "a", "a\0", "ab", "b", "\xff\xff"].filter((each) => isWithin(each, range));
  assert.deepEqual(has(rangeOf(bytes("a"), bytes(""))), ["a"]);
  assert.deepEqual(has(rangeOf(bytes("a"), bytes("b"))), ["a", "a\0", "ab"]);
  assert.deepEqual(has(rangeOf(bytes("ab"), bytes("\0"))), ["ab", "b", "\xff\xff"]);
  assert.deepEqual(has(rangeOf(bytes("\0"), bytes("\0"))), ["\0", "a", "a\0", "ab", "b", "\xff\xff"]);
  assert.deepEqual(has(rangeOf(bytes("b"), bytes("a"))), []);
});
