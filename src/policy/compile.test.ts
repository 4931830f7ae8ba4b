/** The compiled filter against the oracle: random clusters, whole and in many small changes. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { isAllowedByOracle, type OracleCluster, type OraclePod } from "../testing/policy-oracle.ts";
import {
  inputOf,
  randomCluster,
  randomFrom,
  randomPods,
  randomPolicies,
  randomTraffic,
} from "../testing/random-policies.ts";
import { PolicyCompiler } from "./compile.ts";
import { judge } from "./judge.ts";
import type { DesiredFilter, PolicyInput } from "./model.ts";

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");
const compile = (input: PolicyInput): DesiredFilter => new PolicyCompiler(digest).compile(input);

/** @returns how many connections were allowed and denied, so that a test can see that both happen. */
function assertAsOracle(filter: DesiredFilter, cluster: OracleCluster, seed: number, count: number) {
  const seen = { allowed: 0, denied: 0 };
  for (const traffic of randomTraffic(randomFrom(seed), cluster, count)) {
    const expected = isAllowedByOracle(cluster, traffic);
    seen[expected ? "allowed" : "denied"]++;
    const { isAllowed } = judge(filter, traffic);
    if (isAllowed !== expected) {
      assert.fail(`seed ${seed}: ${JSON.stringify(traffic)} should be ${expected ? "allowed" : "denied"}`);
    }
  }
  return seen;
}

test("random clusters: every verdict is the oracle's", () => {
  const sum = { allowed: 0, denied: 0 };
  for (let seed = 1; seed <= 300; seed++) {
    const random = randomFrom(seed);
    const cluster = randomCluster(random, 12, 1 + Math.floor(random() * 8));
    const { allowed, denied } = assertAsOracle(compile(inputOf(cluster)), cluster, seed, 150);
    sum.allowed += allowed;
    sum.denied += denied;
  }
  assert.ok(Math.min(sum.allowed, sum.denied) > 5_000, JSON.stringify(sum));
});

/** One random change of a cluster, and of the input so that all that did not change stays the same object. */
function change(
  cluster: OracleCluster,
  input: PolicyInput,
  random: () => number,
): [OracleCluster, PolicyInput] {
  const next: OracleCluster = {
    ...cluster,
    pods: [...cluster.pods],
    policies: [...cluster.policies],
    namespaces: [...cluster.namespaces],
  };
  const index = Math.floor(random() * 12);
  const kind = random();
  if (kind < 0.5) {
    const pod = randomPods(random, index + 1)[index]!;
    next.pods = next.pods.filter(({ metadata }) => metadata.name !== pod.metadata.name);
    if (random() < 0.8) next.pods.push(pod);
  } else if (kind < 0.85) {
    const at = Math.floor(random() * 8);
    const policy = randomPolicies(random, at + 1)[at]!;
    next.policies = next.policies.filter(({ metadata }) => metadata.name !== policy.metadata.name);
    if (random() < 0.7) next.policies.push(policy);
  } else {
    const other = randomCluster(random, 0, 0).namespaces;
    next.namespaces = random() < 0.3 ? next.namespaces.slice(1) : other;
  }
  const fresh = inputOf(next);
  const keep = <T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>) =>
    new Map([...after].map(([key, value]) => [key, sameValue(before.get(key), value)]));
  return [
    next,
    {
      pods: keep(input.pods, fresh.pods),
      namespaces: keep(input.namespaces, fresh.namespaces),
      policies: keep(input.policies, fresh.policies),
    },
  ];
}
const sameValue = <T>(before: T | undefined, after: T): T => {
  try {
    assert.deepEqual(before, after);
    return before!;
  } catch {
    return after;
  }
};
const plain = ({ ingress, egress, chains, sets }: DesiredFilter) => ({
  ingress: new Map([...ingress].sort()),
  egress: new Map([...egress].sort()),
  chains: new Map([...chains].sort(([a], [b]) => (a < b ? -1 : 1))),
  sets: new Map([...sets].sort(([a], [b]) => (a < b ? -1 : 1))),
});

test("one change after the other gives what compiling anew gives, and the same object if nothing changed", () => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = randomFrom(seed);
    const compiler = new PolicyCompiler(digest);
    let cluster = randomCluster(random, 10, 5);
    let input = inputOf(cluster);
    let filter = compiler.compile(input);
    for (let step = 0; step < 60; step++) {
      [cluster, input] = change(cluster, input, random);
      filter = compiler.compile(input);
      assert.deepEqual(plain(filter), plain(compile(input)), `seed ${seed}, step ${step}`);
      if (step % 10 === 0) assertAsOracle(filter, cluster, seed * 100 + step, 60);
      assert.equal(compiler.compile(input), filter);
      assert.equal(compiler.compile({ ...input, pods: new Map(input.pods) }), filter);
    }
  }
});

test("an address that another pod has for a while: chains and sets come back with it", () => {
  const base = randomCluster(randomFrom(3), 6, 0);
  base.pods = base.pods.filter(({ spec }) => spec.hostNetwork !== true).slice(0, 2);
  const [victim, thief] = base.pods as [OraclePod, OraclePod];
  victim.spec.nodeName = "here";
  thief.spec.nodeName = "there";
  victim.status = { phase: "Running", podIPs: [{ ip: "10.9.0.100" }] };
  thief.status = { phase: "Running", podIPs: [{ ip: "10.9.0.101" }] };
  const peer = { namespaceSelector: {}, podSelector: {} };
  base.policies = [
    {
      metadata: { namespace: victim.metadata.namespace, name: "policy" },
      spec: {
        podSelector: {},
        ingress: [{ from: [peer], ports: [{ port: 80, endPort: 81 }, { port: 90 }] }],
      },
    },
  ];
  const compiler = new PolicyCompiler(digest);
  const input = inputOf(base);
  const first = compiler.compile(input);
  assert.ok(first.ingress.has("10.9.0.100"));
  const [thiefKey, thiefPod] = [...input.pods].find(([, { name }]) => name === thief.metadata.name)!;
  const newer = { ...thiefPod, addresses: ["10.9.0.100"], createdAt: 9 };
  const taken = compiler.compile({ ...input, pods: new Map([...input.pods, [thiefKey, newer]]) });
  assert.equal(taken.ingress.has("10.9.0.100"), false);
  const back = compiler.compile(input);
  assert.deepEqual(plain(back), plain(first));
  assert.ok(
    judge(back, { source: "10.9.0.101", destination: "10.9.0.100", protocol: "TCP", port: 80 }).isAllowed,
  );
});
