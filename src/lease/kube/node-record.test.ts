/** The reader of bytes against the reader of objects, and both against junk. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { makeNode } from "../../kube-server/objects/node-object.ts";
import { annotationNames } from "./annotations.ts";
import { JsonReader } from "./json-reader.ts";
import {
  ownNodeRecordReader,
  packedNodeReader,
  packNode,
  readOwnNodeRecord,
  unpackNode,
} from "./node-record.ts";

const NAMES = annotationNames("flannel.alpha.coreos.com");
const readPacked = packedNodeReader(NAMES);
const readOwn = ownNodeRecordReader(NAMES);

const read = (object: unknown) => readPacked(new JsonReader(Buffer.from(JSON.stringify(object))));

test("keeps what a lease needs of a node", () => {
  const node = makeNode("n1", {
    podCIDRs: ["10.244.1.0/24", "fc00:0:0:1::/64"],
    annotations: {
      [NAMES.managed]: "true",
      [NAMES.publicIp]: "192.168.0.1",
      [NAMES.backendData]: '{"VNI":1}',
      other: "x",
    },
    paddingBytes: 5_000,
  });
  const withVersion = { ...node, metadata: { ...node.metadata, resourceVersion: "77" } };
  const { version, object: packed } = read(withVersion);
  assert.equal(version, "77");
  assert.deepEqual(unpackNode(packed!), {
    name: "n1",
    podCidrs: ["10.244.1.0/24", "fc00:0:0:1::/64"],
    annotations: { managed: "true", publicIp: "192.168.0.1", backendData: '{"VNI":1}' },
  });
  assert.deepEqual(packNode(unpackNode(packed!)), packed);
  assert.ok(packed!.text.length < 400);
});

test("reads the condition and the writers of the own node", () => {
  const { object: node } = readOwn(
    new JsonReader(
      Buffer.from(
        JSON.stringify({
          metadata: {
            name: "n1",
            resourceVersion: "7",
            managedFields: [
              { manager: "kubectl", fieldsV1: { "f:metadata": { "f:annotations": { "f:a/b": {} } } } },
              7,
              { manager: 7 },
            ],
          },
          spec: { podCIDR: "10.244.1.0/24" },
          status: {
            conditions: [
              7,
              { type: "Ready", status: "True" },
              { type: "NetworkUnavailable", status: "True" },
            ],
          },
        }),
      ),
    ),
  );
  assert.deepEqual(node?.networkUnavailable, { status: "True", reason: "" });
  assert.deepEqual(node?.podCidrs, ["10.244.1.0/24"]);
  assert.match(node!.writers[0]!.fields, /"f:a\/b"/);
  assert.equal(node!.writers.length, 1);
});

test("a node is unchanged while its relevant text is, whatever else changes", () => {
  const node = makeNode("n1", { podCIDRs: ["10.244.1.0/24"] });
  const later = {
    ...node,
    status: {},
    metadata: { ...node.metadata, labels: { a: "b" }, resourceVersion: "9" },
  };
  assert.equal(read(node).object!.text, read(later).object!.text);
  const moved = { ...node, spec: { podCIDR: "10.244.2.0/24" } };
  assert.notEqual(read(node).object!.text, read(moved).object!.text);
});

test("both readers agree on any node, and leave no state for the next one", () => {
  const text = fc.oneof(fc.string(), fc.constantFrom("10.0.0.0/24", "true", ""));
  const junk = fc.oneof(fc.constant(null), fc.integer(), text, fc.array(text));
  const annotations = fc.dictionary(fc.oneof(fc.constantFrom(...Object.values(NAMES)), fc.string()), junk);
  const node = fc.record(
    {
      metadata: fc.oneof(
        junk,
        fc.record(
          { name: fc.oneof(text, junk), annotations: fc.oneof(junk, annotations), resourceVersion: junk },
          { requiredKeys: [] },
        ),
      ),
      spec: fc.oneof(
        junk,
        fc.record({ podCIDR: junk, podCIDRs: fc.oneof(junk, fc.array(junk)) }, { requiredKeys: [] }),
      ),
      status: junk,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(node, junk), (object) => {
      const own = readOwnNodeRecord(object, NAMES);
      const { object: packed } = read(object);
      if (own === undefined) return assert.equal(packed, undefined);
      const { name, podCidrs, annotations } = own;
      assert.deepEqual(unpackNode(packed!), { name, podCidrs, annotations });
    }),
  );
});

test("F2 keeps a node's creation time, with both readers, and none if it is malformed", () => {
  const node = makeNode("n1", { podCIDRs: ["10.244.1.0/24"] });
  const created = (creationTimestamp: unknown) => ({
    ...node,
    metadata: { ...node.metadata, creationTimestamp },
  });
  for (const [text, expected] of [
    ["2026-03-01T10:00:00Z", Date.UTC(2026, 2, 1, 10)],
    ["junk", undefined],
    [7, undefined],
    [null, undefined],
  ] as const) {
    const { object: packed } = read(created(text));
    assert.equal(unpackNode(packed!).createdAtMs, expected);
    assert.equal(unpackNode(packNode(unpackNode(packed!))).createdAtMs, expected);
    assert.equal(readOwnNodeRecord(created(text), NAMES)?.createdAtMs, expected);
  }
});
