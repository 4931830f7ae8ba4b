/** Tables: ages as kubectl shows them, and which Accept headers get a table. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { makeNode } from "../objects/node-object.ts";
import { NODES } from "../objects/resources.ts";
import { humanDuration, tableOf, wantsTable } from "./kubectl-table.ts";

const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];
const AGES: readonly (readonly [ms: number, text: string])[] = [
  [-5_000, "<invalid>"],
  [-500, "0s"],
  [119_999, "119s"],
  [2 * MINUTE, "2m"],
  [5 * MINUTE + 10_000, "5m10s"],
  [10 * MINUTE + 10_000, "10m"],
  [179 * MINUTE, "179m"],
  [3 * HOUR + 5 * MINUTE, "3h5m"],
  [8 * HOUR + 5 * MINUTE, "8h"],
  [49 * HOUR, "2d1h"],
  [8 * DAY + HOUR, "8d"],
  [800 * DAY, "2y70d"],
  [9 * 365 * DAY, "9y"],
];
for (const [ms, text] of AGES) {
  test(`${ms} ms are ${text}`, () => assert.equal(humanDuration(ms), text));
}

test("a table is sent only if the Accept header prefers it", () => {
  const kubectl =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
  assert.equal(wantsTable(kubectl), true);
  assert.equal(wantsTable("application/json"), false);
  assert.equal(wantsTable("application/json, application/json;as=Table;v=v1;g=meta.k8s.io"), false);
  assert.equal(wantsTable("application/vnd.kubernetes.protobuf, application/json"), false);
  assert.equal(wantsTable(""), false);
});

test("a node's row", () => {
  const node = makeNode("n1", { labels: { "node-role.kubernetes.io/control-plane": "" } });
  const created = { ...node, metadata: { ...node.metadata, creationTimestamp: "2026-01-01T00:00:00Z" } };
  const { rows } = tableOf(NODES, [created], {}, "None", Date.parse("2026-01-01T00:00:30Z"));
  assert.deepEqual((rows as { cells: unknown }[])[0]?.cells, [
    ...["n1", "Ready", "control-plane", "30s", "v1.32.4", "192.0.2.1", "<none>"],
    ...["Debian GNU/Linux 12 (bookworm)", "6.1.0-18-amd64", "containerd://1.7.27"],
  ]);
});
