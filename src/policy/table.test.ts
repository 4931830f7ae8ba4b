/** The filter as a table: what is written for which change, and listings of nft that are read back. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { forbiddenConnections } from "./connections.ts";
import type { DesiredFilter, FilterChain, FilterSet } from "./model.ts";
import { type TableContents, TableMaker } from "./table.ts";
import { readCounters, readListing } from "./table-listing.ts";
import { changeTable } from "./table-script.ts";

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

const PODS: FilterSet = { name: "pods4-x", type: "addresses", family: 4, elements: ["10.9.0.1", "10.9.0.3"] };
const CHAIN: FilterChain = {
  name: "in4-x",
  direction: "ingress",
  family: 4,
  rules: [
    { peers: "pods4-x", protocol: "TCP", ports: { first: 80, last: 80 }, policies: ["shop/a"] },
    { protocol: "SCTP", policies: ["shop/a"] },
  ],
  policies: ["shop/a"],
};
const FILTER: DesiredFilter = {
  ingress: new Map([["10.9.0.2", "in4-x"]]),
  egress: new Map(),
  chains: new Map([["in4-x", CHAIN]]),
  sets: new Map([["pods4-x", PODS]]),
};
const NOTHING: DesiredFilter = { ingress: new Map(), egress: new Map(), chains: new Map(), sets: new Map() };
const maker = new TableMaker({ digest });
const change = (before: DesiredFilter, after: DesiredFilter) =>
  changeTable(maker.make(before), maker.make(after));

test("a first isolated pod: sets, then its chain, then the map that leads to it", () => {
  const { lines, changeCount, mayForbid } = change(NOTHING, FILTER);
  const [mark] = maker.make(FILTER).chains.get("in4-x")!.rules[0]!.mark.split("/");
  assert.deepEqual(lines, [
    "add set inet flannel-policy pods4-x { type ipv4_addr; }",
    "add element inet flannel-policy self4 { 10.9.0.2 . 10.9.0.2 }",
    "add element inet flannel-policy pods4-x { 10.9.0.1, 10.9.0.3 }",
    "add chain inet flannel-policy in4-x",
    `add rule inet flannel-policy in4-x tcp dport 80 ip saddr @pods4-x return comment "${mark}/0"`,
    `add rule inet flannel-policy in4-x meta l4proto sctp return comment "${mark}/1"`,
    `add rule inet flannel-policy in4-x goto deny-in4 comment "${mark}/2"`,
    "add element inet flannel-policy in4 { 10.9.0.2 : jump in4-x }",
  ]);
  assert.deepEqual([changeCount, mayForbid], [6, true]);
});

test("a changed pod is one element; no change is no line", () => {
  const more = { ...PODS, elements: [...PODS.elements, "10.9.0.4"] };
  const grown = { ...FILTER, sets: new Map([["pods4-x", more]]) };
  assert.deepEqual(change(FILTER, grown), {
    lines: ["add element inet flannel-policy pods4-x { 10.9.0.4 }"],
    changeCount: 1,
    mayForbid: false,
  });
  assert.deepEqual(change(grown, FILTER), {
    lines: ["delete element inet flannel-policy pods4-x { 10.9.0.4 }"],
    changeCount: 1,
    mayForbid: true,
  });
  assert.deepEqual(change(FILTER, { ...FILTER }).lines, []);
});

test("another chain: its pod changes over before the old one goes", () => {
  const next = { ...CHAIN, name: "in4-y", rules: [] };
  const after = {
    ...FILTER,
    ingress: new Map([["10.9.0.2", "in4-y"]]),
    chains: new Map([["in4-y", next]]),
    sets: new Map(),
  };
  const lines = change(FILTER, after).lines.map((line) => line.replace(/ comment.*/, ""));
  assert.deepEqual(lines, [
    "add chain inet flannel-policy in4-y",
    "add rule inet flannel-policy in4-y goto deny-in4",
    "delete element inet flannel-policy in4 { 10.9.0.2 }",
    "add element inet flannel-policy in4 { 10.9.0.2 : jump in4-y }",
    "flush chain inet flannel-policy in4-x",
    "delete chain inet flannel-policy in4-x",
    "delete set inet flannel-policy pods4-x",
  ]);
});

test("a set of another type or a chain with another hook: the table is made anew in one transaction", () => {
  const after = maker.make(FILTER);
  for (const before of [
    { ...after, sets: new Map([...after.sets, ["self4", { declaration: "type mark", elements: [] }]]) },
    { ...after, chains: new Map([...after.chains, ["forward", { hook: "", rules: [] }]]) },
  ] satisfies TableContents[]) {
    const { lines } = changeTable(before, after);
    assert.deepEqual(lines.slice(0, 2), [
      "delete table inet flannel-policy",
      "add table inet flannel-policy",
    ]);
    assert.deepEqual(lines.slice(1), changeTable(undefined, after).lines);
  }
});

test("listings: foreign tables are skipped, forms of addresses do not matter, and what is no listing is an error", () => {
  const table = { family: "inet", table: "flannel-policy" };
  const listing = {
    nftables: [
      { metainfo: {} },
      { set: { family: "inet", table: "mesh", name: "foreign", type: "mark" } },
      {
        set: {
          ...table,
          name: "block6-x",
          type: "ipv6_addr",
          flags: ["interval"],
          elem: [{ prefix: { addr: "::10.5.1.0", len: 120 } }, "fd09::1", { range: ["fd0a::1", "fd0a::9"] }],
        },
      },
      {
        map: {
          ...table,
          name: "in4",
          type: "ipv4_addr",
          map: "verdict",
          elem: [
            ["10.9.0.2", { jump: { target: "in4-x" } }],
            ["10.9.0.3", { accept: null }],
          ],
        },
      },
      { chain: { ...table, name: "in4-x" } },
      { rule: { ...table, chain: "in4-x", comment: "m/0" } },
      { rule: { ...table, chain: "in4-x" } },
    ],
  };
  const { sets, chains } = readListing(JSON.stringify(listing));
  assert.deepEqual(sets.get("block6-x"), {
    declaration: "type ipv6_addr; flags interval",
    elements: ["::a05:100-::a05:1ff", "fd09::1-fd09::1", "fd0a::1-fd0a::9"],
  });
  assert.deepEqual(sets.get("in4")!.elements, ["10.9.0.2 : jump in4-x", '10.9.0.3 : {"accept":null}']);
  assert.deepEqual(
    chains.get("in4-x")!.rules.map(({ mark }) => mark),
    ["m/0", ""],
  );
  assert.equal(sets.has("foreign"), false);
  for (const text of ["", "{", "[]", '{"nftables":{}}'])
    assert.throws(() => readListing(text), { code: "EBADMSG" });
});

test("counters of denied packets; a set without elements has none", () => {
  const elem = [
    { elem: { val: "10.9.0.2", timeout: 3600, counter: { packets: 3, bytes: 180 } } },
    "10.9.0.3",
  ];
  assert.deepEqual(readCounters(JSON.stringify({ nftables: [{ set: { elem } }] })), [
    { address: "10.9.0.2", packets: 3, bytes: 180 },
  ]);
  assert.deepEqual(readCounters(JSON.stringify({ nftables: [{ set: {} }] })), []);
});

test("forbidden connections: those of isolated pods that no rule allows; the node's own never", () => {
  const to = (id: number, source: string, protocol = "TCP", destination = "10.9.0.2") => ({
    ...{ id, source, destination, protocol, port: 80 },
  });
  const all = [
    to(1, "10.9.0.1"),
    to(2, "10.9.0.4"),
    to(3, "10.9.0.9"),
    to(4, "10.9.0.4", "SCTP"),
    to(5, "10.9.0.4", "TCP", "10.9.0.8"),
  ];
  assert.deepEqual(forbiddenConnections(FILTER, all, new Set(["10.9.0.9"])), new Set([2]));
});
