import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { KeyValueSchema } from "../../etcd-api/kv_pb.ts";
import { RangeResponseSchema, ResponseHeaderSchema, WatchResponseSchema } from "../../etcd-api/rpc_pb.ts";
import { toKeyValue } from "../store/txn.ts";
import {
  encodeEventField,
  encodeRangeResponse,
  encodeTombstone,
  encodeWatchEvents,
  makeRecord,
  withoutValue,
} from "./wire.ts";

const revision = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.maxSafeNat().map((each) => each + 1),
);
const record = fc
  .record({
    key: fc.string({ unit: fc.constantFrom("a", "\0", "\xff"), minLength: 1, maxLength: 200 }),
    createRevision: revision,
    modRevision: revision,
    version: revision,
    value: fc.uint8Array({ maxLength: 300 }),
    lease: fc.oneof(fc.constant(0n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  })
  .map(makeRecord);
const header = toBinary(
  ResponseHeaderSchema,
  create(ResponseHeaderSchema, { clusterId: 2n ** 63n, memberId: 1n, revision: 300n, raftTerm: 1n }),
);

test("a record is encoded to the same bytes as by the generated code", () => {
  const property = fc.property(record, (each) => {
    const expected = toBinary(KeyValueSchema, create(KeyValueSchema, toKeyValue(each)));
    assert.deepEqual(new Uint8Array(each.encoded), new Uint8Array(expected));
    assert.equal(fromBinary(KeyValueSchema, withoutValue(each).encoded).value.length, 0);
  });
  fc.assert(property);
});

test("the generated code decodes a listing", () => {
  const property = fc.property(fc.array(record), fc.boolean(), fc.nat(), (records, more, count) => {
    const read = fromBinary(RangeResponseSchema, encodeRangeResponse(header, records, more, count));
    assert.equal(read.header?.revision, 300n);
    assert.equal(read.more, more);
    assert.equal(read.count, BigInt(count));
    assert.deepEqual(
      read.kvs.map((kv) => kv.modRevision),
      records.map((each) => BigInt(each.modRevision)),
    );
    assert.deepEqual(
      read.kvs.map((kv) => kv.lease),
      records.map((each) => each.lease),
    );
  });
  fc.assert(property);
});

test("the generated code decodes events", () => {
  const id = fc.oneof(fc.constant(0n), fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }));
  const property = fc.property(
    record,
    fc.option(record, { nil: undefined }),
    id,
    (each, previous, watchId) => {
      const events = [
        encodeEventField(false, each.encoded, previous?.encoded),
        encodeEventField(true, encodeTombstone(each.key, each.modRevision), previous?.encoded),
      ];
      const read = fromBinary(WatchResponseSchema, encodeWatchEvents(header, watchId, events));
      assert.equal(read.watchId, watchId);
      assert.deepEqual(
        read.events.map(({ type }) => type),
        [0, 1],
      );
      for (const { kv, prevKv } of read.events) {
        assert.equal(Buffer.from(kv!.key).toString("latin1"), each.key);
        assert.equal(kv!.modRevision, BigInt(each.modRevision));
        assert.equal(prevKv?.version, previous && BigInt(previous.version));
      }
    },
  );
  fc.assert(property);
});
