/** managedFields: the owner of each field. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "./kube-object.ts";
import { manageFields, writerOf } from "./managed-fields.ts";
import { makeNode } from "./node-object.ts";

const FLANNELD = { manager: "flanneld", subresource: "status" };
const KUBECTL = { manager: "kubectl-annotate", subresource: undefined };

function annotated(
  node: KubeObject,
  annotations: Record<string, string>,
  writer: typeof FLANNELD | typeof KUBECTL,
) {
  const next = { ...node, metadata: { ...node.metadata, annotations } };
  return { ...next, metadata: { ...next.metadata, managedFields: manageFields(node, next, writer, "t") } };
}

const owners = ({ metadata }: KubeObject) =>
  (metadata.managedFields ?? []).map(({ manager, subresource, fieldsV1 }) => [
    manager,
    subresource,
    JSON.stringify(fieldsV1),
  ]);
const annotations = (...keys: string[]) =>
  JSON.stringify({
    "f:metadata": { "f:annotations": Object.fromEntries(keys.map((key) => [`f:${key}`, {}])) },
  });

test("a field is owned by its last writer, and has no owner once deleted", () => {
  const bare: KubeObject = { ...makeNode("n1"), metadata: { name: "n1" } };
  const published = annotated(bare, { a: "1", b: "2" }, FLANNELD);
  assert.deepEqual(owners(published), [["flanneld", "status", annotations("a", "b")]]);
  const changed = annotated(published, { a: "1", b: "3" }, KUBECTL);
  assert.deepEqual(owners(changed), [
    ["flanneld", "status", annotations("a")],
    ["kubectl-annotate", undefined, annotations("b")],
  ]);
  const stripped = annotated(changed, { b: "3" }, KUBECTL);
  assert.deepEqual(owners(stripped), [["kubectl-annotate", undefined, annotations("b")]]);
});

test("each condition has its own owner", () => {
  const node = makeNode("n1");
  const conditions = node.status!.conditions!.map((condition) =>
    condition.type === "Ready" ? { ...condition, status: "False" } : condition,
  );
  const next = { ...node, status: { ...node.status, conditions } };
  const [entry] = manageFields(node, next, { manager: "kubelet", subresource: "status" }, "t");
  assert.deepEqual(entry?.fieldsV1, { "f:status": { "f:conditions": { 'k:{"type":"Ready"}': {} } } });
});

test("the writer is the field manager, else the program's name", () => {
  assert.equal(writerOf("me", "kubectl/v1.32 (linux)", undefined).manager, "me");
  assert.equal(writerOf(null, "kubectl/v1.32 (linux)", undefined).manager, "kubectl");
  assert.equal(writerOf("", undefined, "status").manager, "unknown");
});
