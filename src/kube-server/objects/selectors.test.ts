/** Label and field selectors. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasCode } from "../../base/error.ts";
import { makeNode, makePod } from "./node-object.ts";
import { NODES, PODS } from "./resources.ts";
import { nameOf, parseSelectors } from "./selectors.ts";

const node = makeNode("n1", { labels: { "example.com/zone": "a", empty: "" } });
const pod = makePod("p1", { namespace: "kube-flannel", nodeName: "n1" });

const LABELS: readonly (readonly [selector: string, isSelected: boolean])[] = [
  ["example.com/zone=a", true],
  ["example.com/zone==b", false],
  ["example.com/zone!=b", true],
  ["absent!=b", true],
  ["empty=", true],
  ["example.com/zone", true],
  ["!absent", true],
  ["!example.com/zone", false],
  ["example.com/zone in (a, b),empty", true],
  ["example.com/zone notin (a,b)", false],
  ["absent notin (a)", true],
  ["toString", false],
];
for (const [selector, isSelected] of LABELS) {
  test(`labels: ${selector} is ${isSelected}`, () => {
    assert.equal(parseSelectors(NODES, "", selector, undefined)!(node), isSelected);
  });
}

test("fields: names, a pod's node, unknown fields", () => {
  const matches = (selector: string) => parseSelectors(PODS, selector, "", undefined)!(pod);
  assert.equal(matches("metadata.name=p1"), true);
  assert.equal(matches("spec.nodeName==n2"), false);
  assert.equal(matches("spec.nodeName=n1,status.phase!=Failed"), true);
  assert.throws(
    () => parseSelectors(NODES, "spec.nodeName=n1", "", undefined),
    (error) => hasCode(error, "BadRequest"),
  );
  assert.throws(
    () => parseSelectors(NODES, "", "a b c", undefined),
    (error) => hasCode(error, "BadRequest"),
  );
});

test("no selector selects all objects, a namespace selects its own", () => {
  assert.equal(parseSelectors(NODES, "", "", undefined), undefined);
  assert.equal(parseSelectors(PODS, "", "", "kube-flannel")!(pod), true);
  assert.equal(parseSelectors(PODS, "", "", "default")!(pod), false);
});

test("the name that a field selector requires", () => {
  assert.equal(nameOf("metadata.name=n1"), "n1");
  assert.equal(nameOf("status.phase!=Failed,metadata.name==n1"), "n1");
  assert.equal(nameOf("metadata.name!=n1"), undefined);
  assert.equal(nameOf(""), undefined);
});
