/** Strategic merge patches of nodes: merged and replaced lists, directives. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasCode } from "../../base/error.ts";
import type { JsonObject } from "./kube-object.ts";
import { NODES, PODS } from "./resources.ts";
import { strategicMergePatch } from "./strategic-merge-patch.ts";

const patchNode = (target: JsonObject, patch: JsonObject) =>
  strategicMergePatch(target, patch, NODES.mergedLists);

test("maps are merged, null deletes", () => {
  const target = { metadata: { annotations: { a: "1", b: "2" }, labels: { x: "y" } } };
  assert.deepEqual(patchNode(target, { metadata: { annotations: { a: null, c: "3", d: null } } }), {
    metadata: { annotations: { b: "2", c: "3" }, labels: { x: "y" } },
  });
  assert.deepEqual(target.metadata.annotations, { a: "1", b: "2" }, "the target stays as it is");
});

test("conditions are merged by type, in their order", () => {
  const target = {
    status: {
      conditions: [
        { type: "NetworkUnavailable", status: "True", message: "no route" },
        { type: "Ready", status: "True" },
      ],
    },
  };
  const patch = {
    status: {
      conditions: [
        { type: "NetworkUnavailable", status: "False", message: null },
        { type: "New", status: "True" },
      ],
    },
  };
  assert.deepEqual(patchNode(target, patch).status, {
    conditions: [
      { type: "NetworkUnavailable", status: "False" },
      { type: "Ready", status: "True" },
      { type: "New", status: "True" },
    ],
  });
});

test("$setElementOrder sorts elements; others stay behind their predecessors", () => {
  const conditions = ["a", "b", "mine", "c"].map((type) => ({ type }));
  const patch = { status: { "$setElementOrder/conditions": ["c", "b", "a"].map((type) => ({ type })) } };
  assert.deepEqual(patchNode({ status: { conditions } }, patch).status, {
    conditions: ["c", "b", "mine", "a"].map((type) => ({ type })),
  });
});

test("$patch deletes one element, or replaces the whole list", () => {
  const addresses = [
    { type: "InternalIP", address: "192.0.2.1" },
    { type: "Hostname", address: "n1" },
  ];
  assert.deepEqual(
    patchNode({ status: { addresses } }, { status: { addresses: [{ type: "Hostname", $patch: "delete" }] } })
      .status,
    { addresses: [addresses[0]] },
  );
  const both = [
    { type: "InternalIP", address: "192.0.2.2" },
    { type: "InternalIP", address: "2001:db8::2" },
  ];
  assert.deepEqual(
    patchNode({ status: { addresses } }, { status: { addresses: [...both, { $patch: "replace" }] } }).status,
    { addresses: both },
  );
});

test("$patch replaces or empties a map, $retainKeys keeps the members that it names", () => {
  const target = { metadata: { annotations: { a: "1", b: "2", c: "3" } } };
  assert.deepEqual(patchNode(target, { metadata: { annotations: { $patch: "replace", d: "4" } } }), {
    metadata: { annotations: { d: "4" } },
  });
  assert.deepEqual(patchNode(target, { metadata: { annotations: { $patch: "delete" } } }), {
    metadata: { annotations: {} },
  });
  assert.deepEqual(patchNode(target, { metadata: { annotations: { $retainKeys: ["a", "b"], b: "5" } } }), {
    metadata: { annotations: { a: "1", b: "5" } },
  });
});

test("podCIDRs are a set, taints are replaced", () => {
  const target = { spec: { podCIDRs: ["10.5.1.0/24"], taints: [{ key: "a", effect: "NoSchedule" }] } };
  assert.deepEqual(
    patchNode(target, {
      spec: {
        podCIDRs: ["fd00::/64", "10.5.1.0/24"],
        "$setElementOrder/podCIDRs": ["fd00::/64", "10.5.1.0/24"],
        taints: [{ key: "b", effect: "NoExecute" }],
      },
    }),
    { spec: { podCIDRs: ["fd00::/64", "10.5.1.0/24"], taints: [{ key: "b", effect: "NoExecute" }] } },
  );
  assert.deepEqual(
    patchNode(target, { spec: { "$deleteFromPrimitiveList/podCIDRs": ["10.5.1.0/24"], taints: null } }),
    { spec: { podCIDRs: [] } },
  );
});

test("lists within lists are merged too", () => {
  const target = { spec: { containers: [{ name: "main", env: [{ name: "A", value: "1" }] }] } };
  const patch = { spec: { containers: [{ name: "main", env: [{ name: "B", value: "2" }] }] } };
  assert.deepEqual(strategicMergePatch(target, patch, PODS.mergedLists).spec, {
    containers: [
      {
        name: "main",
        env: [
          { name: "A", value: "1" },
          { name: "B", value: "2" },
        ],
      },
    ],
  });
});

test("directives in a new member are not stored", () => {
  const patch = {
    status: {
      "$setElementOrder/conditions": [{ type: "Ready" }],
      conditions: [
        { type: "Ready", status: "True" },
        { type: "Gone", $patch: "delete" },
      ],
    },
  };
  assert.deepEqual(patchNode({}, patch), { status: { conditions: [{ type: "Ready", status: "True" }] } });
});

test("invalid patches are rejected", () => {
  const refused = (patch: JsonObject, code: string) =>
    assert.throws(
      () => patchNode({ status: { conditions: [] } }, patch),
      (error) => hasCode(error, code),
    );
  refused({ status: { conditions: [{ status: "True" }] } }, "Unprocessable");
  refused({ status: { conditions: ["Ready"] } }, "BadRequest");
  refused({ status: { $patch: "explode" } }, "BadRequest");
  refused({ status: { "$setElementOrder/conditions": "Ready" } }, "BadRequest");
  refused({ spec: { "$deleteFromPrimitiveList/podCIDRs": "x" } }, "BadRequest");
});
