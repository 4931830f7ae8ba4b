import assert from "node:assert/strict";
import { test } from "node:test";
import type { KeyRecord } from "../keys/key-value-store.ts";
import { advance, positionOf } from "./etcd-position.ts";

const record = (key: string, revision: bigint, lifeId?: string): KeyRecord => ({
  key,
  value: "x",
  createdAt: revision,
  revision,
  lifeId,
});
const witnessOf = (...records: KeyRecord[]) =>
  positionOf({ records, revision: 9n, dialCount: 1 }).witness?.key;

test("the witness is a key on an etcd lease, then the one written last", () => {
  assert.equal(witnessOf(record("a", 1n), record("b", 3n), record("c", 2n)), "b");
  assert.equal(witnessOf(record("a", 1n, "77"), record("b", 3n)), "a");
  assert.equal(witnessOf(record("b", 3n), record("a", 1n, "77")), "a");
  assert.equal(witnessOf(), undefined);
});

test("a key that is not valid UTF-8 is no witness: it cannot be read again by its text", () => {
  assert.equal(witnessOf(record("a", 1n), record("b\ufffd", 3n, "77")), "a");
  assert.equal(witnessOf(record("\ufffd", 3n)), undefined);
});

test("changes move the position on, and a deleted witness is none", () => {
  const start = positionOf({ records: [record("a", 1n, "77")], revision: 2n, dialCount: 1 });
  const rewritten = record("a", 3n);
  const put = advance(start, [{ type: "put", record: rewritten, revision: 3n }]);
  assert.deepEqual(put, { revision: 3n, witness: rewritten, dialCount: 1 });
  const other = advance(put, [{ type: "delete", key: "b", revision: 4n }]);
  assert.deepEqual(other, { ...put, revision: 4n });
  assert.equal(advance(other, [{ type: "delete", key: "a", revision: 5n }]).witness, undefined);
});
