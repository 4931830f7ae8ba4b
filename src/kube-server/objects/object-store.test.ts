/** Versions, history, and lists at earlier versions. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasCode } from "../../base/error.ts";
import { makeNode } from "./node-object.ts";
import { ObjectStore } from "./object-store.ts";
import { NODES, PODS } from "./resources.ts";

function makeStore(historyLength = 100) {
  const revisions = { current: 1 };
  const nodes = new ObjectStore(NODES, revisions, historyLength, () => {});
  const pods = new ObjectStore(PODS, revisions, historyLength, () => {});
  return { nodes, pods };
}

const names = (store: ObjectStore, revision: number) =>
  store.listAt(revision).map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`);

test("versions increase across all kinds; an equal object is no change", () => {
  const { nodes, pods } = makeStore();
  const first = nodes.create(makeNode("n1"));
  const pod = pods.create({ apiVersion: "v1", kind: "Pod", metadata: { name: "p" } });
  assert.ok(Number(pod.metadata.resourceVersion) > Number(first.metadata.resourceVersion));
  assert.equal(pod.metadata.namespace, "default");
  assert.equal(nodes.update(structuredClone(first)), first);
  assert.equal(nodes.patch("n1", { metadata: { annotations: { a: null } } }), first);
  const second = nodes.patch("n1", { metadata: { annotations: { a: "b" } } });
  assert.ok(Number(second.metadata.resourceVersion) > Number(pod.metadata.resourceVersion));
  assert.equal(second.metadata.uid, first.metadata.uid);
  assert.throws(
    () => nodes.update(first),
    (error) => hasCode(error, "Conflict"),
  );
});

test("the store copies the caller's objects", () => {
  const { nodes } = makeStore();
  const node = makeNode("n1");
  nodes.create(node);
  (node.metadata as { name: string }).name = "changed";
  assert.equal(nodes.get("n1")?.metadata.name, "n1");
});

test("lists at earlier versions, as far back as the history goes", () => {
  const { nodes } = makeStore(4);
  const at = [nodes.revision];
  const step = (change: () => void) => {
    change();
    at.push(nodes.revision);
  };
  step(() => nodes.create(makeNode("a")));
  step(() => nodes.create(makeNode("b")));
  step(() => nodes.patch("a", { spec: { unschedulable: true } }));
  step(() => nodes.delete("b"));
  const [empty, one, two, changed, afterDelete] = at as [number, number, number, number, number];
  assert.deepEqual(names(nodes, empty), []);
  assert.deepEqual(names(nodes, one), [`a@${one}`]);
  assert.deepEqual(names(nodes, two), [`a@${one}`, `b@${two}`]);
  assert.deepEqual(names(nodes, changed), [`a@${changed}`, `b@${two}`]);
  assert.deepEqual(names(nodes, afterDelete), [`a@${changed}`]);
  step(() => nodes.create(makeNode("c")));
  assert.throws(
    () => nodes.listAt(empty),
    (error) => hasCode(error, "Expired"),
  );
  assert.deepEqual(names(nodes, one), [`a@${one}`]);
  assert.throws(
    () => nodes.listAt(nodes.revision + 1),
    (error) => hasCode(error, "Timeout"),
  );
});

test("a deletion has its own version and the last state of the object", () => {
  const { nodes } = makeStore();
  nodes.create(makeNode("n1", { annotations: { a: "b" } }));
  const deleted = nodes.delete("n1");
  assert.equal(deleted.metadata.resourceVersion, nodes.resourceVersion);
  assert.equal(deleted.metadata.annotations?.a, "b");
  assert.equal(nodes.get("n1"), undefined);
});

test("the history drops events beyond its length, and all events on demand", () => {
  const { nodes } = makeStore(10);
  nodes.create(makeNode("n1"));
  const revisions: number[] = [];
  for (let count = 0; count < 500; count++) {
    nodes.patch("n1", { spec: { count } });
    revisions.push(nodes.revision);
  }
  const { history } = nodes;
  assert.equal(history.end - history.begin, 10);
  assert.equal(history.after(revisions.at(-12)!), undefined);
  assert.equal(history.after(revisions.at(-11)!), history.begin);
  assert.equal(history.at(history.after(revisions.at(-3)!)!).revision, revisions.at(-2));
  assert.equal(history.after(nodes.revision), history.end);
  history.compact(nodes.revision);
  assert.equal(history.after(nodes.revision - 1), undefined);
  assert.equal(history.after(nodes.revision), history.end);
});
