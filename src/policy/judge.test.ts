/** Verdicts of a filter written by hand: each thing that a rule can match. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type FirstPacket, judge } from "./judge.ts";
import type { DesiredFilter, FilterRule, FilterSet } from "./model.ts";

const POD = "10.5.1.7";
const PEER = "10.5.2.9";

const SETS: readonly FilterSet[] = [
  { name: "pods", type: "addresses", family: 4, elements: ["10.5.2.1", PEER, "10.5.3.1"] },
  {
    name: "block",
    type: "address-ranges",
    family: 4,
    elements: ["10.5.2.0-10.5.2.8", "10.5.2.10-10.5.2.255"],
  },
  { name: "ports", type: "port-ranges", family: 4, elements: ["80-80", "8000-8080"] },
  { name: "http", type: "endpoints", family: 4, elements: [`${PEER} TCP 8080`] },
];

function filterOf(direction: "ingress" | "egress", ...rules: Omit<FilterRule, "policies">[]): DesiredFilter {
  const chain = {
    name: "c",
    direction,
    family: 4,
    rules: rules.map((rule) => ({ ...rule, policies: ["shop/web"] })),
    policies: ["shop/web"],
  } as const;
  const none = new Map<string, string>();
  const chains = new Map([[POD, "c"]]);
  return {
    ingress: direction === "ingress" ? chains : none,
    egress: direction === "egress" ? chains : none,
    chains: new Map([["c", chain]]),
    sets: new Map(SETS.map((set) => [set.name, set])),
  };
}
const incoming: FirstPacket = { source: PEER, destination: POD, protocol: "TCP", port: 80 };

test("no chain for either end: allowed; a chain without rules: denied, except to itself", () => {
  const filter = filterOf("ingress");
  assert.deepEqual(judge(filter, { ...incoming, destination: PEER, source: POD }), {
    isAllowed: true,
    ends: [],
  });
  const { isAllowed, ends } = judge(filter, incoming);
  assert.equal(isAllowed, false);
  assert.deepEqual(
    ends.map(({ direction, chain, allowedBy }) => [direction, chain.name, allowedBy]),
    [["ingress", "c", undefined]],
  );
  assert.equal(judge(filter, { ...incoming, source: POD }).isAllowed, true);
});

test("peers, protocol, port range, set of ports, named port: all that is given has to match", () => {
  const ask = (rule: Omit<FilterRule, "policies">, packet: Partial<FirstPacket> = {}) =>
    judge(filterOf("ingress", rule), { ...incoming, ...packet }).isAllowed;
  assert.equal(ask({}), true);
  assert.equal(ask({ peers: "pods" }), true);
  assert.equal(ask({ peers: "pods" }, { source: "10.5.2.2" }), false);
  assert.equal(ask({ peers: "block" }), false);
  assert.equal(ask({ peers: "block" }, { source: "10.5.2.10" }), true);
  assert.equal(ask({ protocol: "TCP" }, { protocol: "ICMP" }), false);
  assert.equal(ask({ protocol: "TCP", ports: { first: 79, last: 80 } }), true);
  assert.equal(ask({ protocol: "TCP", ports: { first: 81, last: 90 } }), false);
  assert.equal(ask({ protocol: "UDP", ports: { first: 80, last: 80 } }), false);
  assert.equal(ask({ protocol: "TCP", ports: "ports" }, { port: 8080 }), true);
  assert.equal(ask({ protocol: "TCP", ports: "ports" }, { port: 81 }), false);
  assert.equal(ask({ peers: "pods", protocol: "TCP", ports: { first: 81, last: 81 } }), false);
  const outgoing = { source: POD, destination: PEER, protocol: "TCP", port: 8080 };
  const egress = filterOf("egress", { peers: "block" }, { endpoints: "http" });
  assert.equal(judge(egress, outgoing).isAllowed, true);
  assert.equal(judge(egress, { ...outgoing, port: 80 }).isAllowed, false);
});
