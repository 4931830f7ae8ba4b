/** Which pod has an address: what the watch says, corrected by what the plugin reported. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { PolicyPod } from "../policy/model.ts";
import { formatClaims, parseClaims } from "./claim-record.ts";
import { PodTable } from "./pod-table.ts";

const pod = (name: string, addresses: readonly string[], change: Partial<PolicyPod> = {}): PolicyPod => ({
  ...{ namespace: "ns", name, uid: `uid-${name}`, labels: new Map(), addresses, isLocal: true },
  ...{ isHostNetwork: false, phase: "active", createdAt: 1, ports: [], ...change },
});
const claim = (name: string, addresses: readonly string[], uid = `uid-${name}`) => ({
  ...{ namespace: "ns", name, uid, addresses },
});
const addressesOf = (table: PodTable, name: string) => table.pods.get(`ns/${name}`)?.addresses;

test("a map of pods is another one only if a pod has changed for policies", () => {
  const table = new PodTable();
  table.snapshot([pod("a", ["10.0.0.1"])]);
  const before = table.pods;
  table.put(pod("a", ["10.0.0.1"], { labels: new Map(), ports: [] }));
  assert.equal(table.pods, before, "equal labels and ports in other objects");
  table.put(pod("a", ["10.0.0.1"], { labels: new Map([["x", "y"]]) }));
  assert.notEqual(table.pods, before);
  assert.equal(before.get("ns/a")!.labels.size, 0, "a map that was given out does not change");
});

test("a reported address is the starting pod's, also if another pod of this node has it in the API", () => {
  const table = new PodTable();
  table.snapshot([
    pod("old", ["10.0.0.1", "fd00::1"]),
    pod("far", ["10.0.0.1"], { isLocal: false }),
    pod("new", []),
  ]);
  table.claim(claim("new", ["10.0.0.1"]));
  assert.deepEqual(addressesOf(table, "new"), ["10.0.0.1"]);
  assert.deepEqual(addressesOf(table, "old"), ["fd00::1"]);
  assert.deepEqual(
    addressesOf(table, "far"),
    ["10.0.0.1"],
    "pods of other nodes are not the plugin's business",
  );
  assert.deepEqual(table.localAddresses(), new Set(["10.0.0.1", "fd00::1"]));
  table.claim(claim("old", ["10.0.0.1"]));
  assert.deepEqual(
    [addressesOf(table, "new"), addressesOf(table, "old")],
    [[], ["10.0.0.1"]],
    "the last one counts",
  );
});

test("a claim ends when the API server knows it, when the pod has ended, and when it is deleted", () => {
  for (const end of [
    (table: PodTable) => table.put(pod("a", ["10.0.0.1", "fd00::1"])),
    (table: PodTable) => table.put(pod("a", [], { phase: "finished" })),
    (table: PodTable) => table.remove("ns/a"),
    (table: PodTable) => table.snapshot([]),
    (table: PodTable) => table.put(pod("a", ["10.0.0.7"], { uid: "next" })),
  ]) {
    const table = new PodTable();
    table.snapshot([pod("a", [])]);
    table.claim(claim("a", ["10.0.0.1"]));
    table.put(pod("a", ["10.0.0.9"]));
    assert.deepEqual(addressesOf(table, "a"), ["10.0.0.1"], "the address of the sandbox before");
    end(table);
    assert.deepEqual(table.claims, []);
  }
});

test("a pod that replaces one of the same name keeps its claim when the watch catches up", () => {
  const table = new PodTable();
  table.snapshot([pod("a", ["10.0.0.1"])]);
  table.claim({ ...claim("a", ["10.0.0.2"], "next"), pod: pod("a", [], { uid: "next" }) });
  assert.equal(table.pods.get("ns/a")!.uid, "next");
  table.put(pod("a", ["10.0.0.1"], { phase: "terminating" }));
  table.remove("ns/a");
  assert.deepEqual(addressesOf(table, "a"), ["10.0.0.2"]);
  assert.equal(table.unseenClaims.length, 1);
  table.put(pod("a", [], { uid: "next" }));
  assert.deepEqual([addressesOf(table, "a"), table.unseenClaims], [["10.0.0.2"], []]);
  table.remove("ns/a");
  assert.deepEqual([table.pods.size, table.localAddresses().size], [0, 0]);
});

test("host-network pods, finished pods and pods without an address own none of the node's addresses", () => {
  const table = new PodTable();
  table.snapshot([
    pod("host", ["192.0.2.1"], { isHostNetwork: true }),
    pod("done", ["10.0.0.1"], { phase: "finished" }),
    pod("none", []),
    pod("one", ["10.0.0.2"]),
  ]);
  assert.deepEqual(table.localAddresses(), new Set(["10.0.0.2"]));
});

test("claims survive in a file; a damaged one is empty", () => {
  const table = new PodTable();
  table.snapshot([pod("a", [])]);
  table.claim(claim("a", ["10.0.0.1", "fd00::1"]));
  assert.deepEqual(parseClaims(formatClaims(table.claims)), [claim("a", ["10.0.0.1", "fd00::1"])]);
  for (const text of [undefined, "", "{", "7", '[{"namespace":"../x"}]', "[null]"])
    assert.deepEqual(parseClaims(text), []);
});
