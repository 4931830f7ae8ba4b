/** Totals of denied packets out of counters that begin anew. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { DesiredFilter, FilterChain } from "../policy/model.ts";
import type { Denial } from "../policy/policy-filter.ts";
import { DenialTotals } from "./denial-totals.ts";

const chain = (name: string): FilterChain => ({
  ...{ name, direction: "ingress", family: 4, rules: [], policies: [`ns/${name}`] },
});
const filterOf = (chains: ReadonlyMap<string, string>): DesiredFilter => ({
  ...{ ingress: chains, egress: new Map(), sets: new Map() },
  chains: new Map([...chains.values()].map((name) => [name, chain(name)])),
});
const denial = (address: string, packets: number): Denial => ({
  ...{ direction: "ingress", address, packets, bytes: 0 },
});
const valuesOf = (totals: DenialTotals) =>
  Object.fromEntries(totals.metric.samples.map(({ labels, value }) => [labels!.policies, value]));

test("counts add up over counters that begin anew, by the policies of the pod that has the address then", () => {
  const totals = new DenialTotals();
  const filter = filterOf(new Map([["10.0.0.1", "a"]]));
  totals.take([denial("10.0.0.1", 5)], filter);
  totals.take([denial("10.0.0.1", 7)], filter);
  totals.take([], filter);
  totals.take([denial("10.0.0.1", 2), denial("10.0.0.9", 1)], filter);
  assert.deepEqual(valuesOf(totals), { "ns/a": 9, other: 1 });
});

test("the number of series is bounded", () => {
  const totals = new DenialTotals();
  const chains = new Map(Array.from({ length: 300 }, (_, index) => [`10.0.1.${index}`, `p${index}`]));
  totals.take(
    [...chains.keys()].map((address) => denial(address, 1)),
    filterOf(chains),
  );
  assert.equal(totals.metric.samples.length, 101);
  assert.equal(valuesOf(totals).other, 200);
});
