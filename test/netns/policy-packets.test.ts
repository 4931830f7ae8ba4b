/**
 * Network policies in a real kernel: thousands of packets of random clusters against the oracle, restarts, repairs and cuts.
 *
 *      test ──── in ──▶ node (forwards, our table) ──▶ out ──── test
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../src/base/logger.ts";
import { PolicyCompiler } from "../../src/policy/compile.ts";
import type { DesiredFilter } from "../../src/policy/model.ts";
import { PolicyFilter } from "../../src/policy/policy-filter.ts";
import { removePolicyTable } from "../../src/policy/remove-table.ts";
import { isAllowedByOracle, type OracleCluster } from "../../src/testing/policy-oracle.ts";
import { inputOf, randomCluster, randomFrom, randomTraffic } from "../../src/testing/random-policies.ts";
import { digest, PolicyBed } from "./policy-bed.ts";

const compile = (cluster: OracleCluster): DesiredFilter =>
  new PolicyCompiler(digest).compile(inputOf(cluster));
const filterOn = (bed: PolicyBed): PolicyFilter =>
  new PolicyFilter({ exec: bed.exec, logger: silentLogger, digest });

/** Sends random packets and compares each with the oracle. */
function assertPackets(bed: PolicyBed, cluster: OracleCluster, seed: number, count: number) {
  const packets = randomTraffic(randomFrom(seed), cluster, count).map((traffic, index) => ({
    ...traffic,
    sourcePort: 10_000 + ((seed * count + index) % 50_000),
  }));
  const arrived = bed.send(packets);
  const seen = { allowed: 0, denied: 0 };
  for (const [index, packet] of packets.entries()) {
    const expected = isAllowedByOracle(cluster, packet);
    seen[expected ? "allowed" : "denied"]++;
    if (arrived[index] !== expected)
      assert.fail(`seed ${seed}: ${JSON.stringify(packet)} should be ${expected ? "allowed" : "denied"}`);
  }
  return seen;
}

test("random clusters one after the other: every packet's fate is the oracle's", async (t) => {
  const bed = new PolicyBed(t);
  await using filter = filterOn(bed);
  const sum = { allowed: 0, denied: 0 };
  for (let seed = 1; seed <= 40; seed++) {
    const random = randomFrom(seed);
    const cluster = randomCluster(random, 16, 1 + Math.floor(random() * 8));
    const { refused } = await filter.ensure(compile(cluster));
    assert.deepEqual(refused, []);
    const { allowed, denied } = assertPackets(bed, cluster, seed, 250);
    sum.allowed += allowed;
    sum.denied += denied;
  }
  assert.ok(Math.min(sum.allowed, sum.denied) > 1000, JSON.stringify(sum));
});

const CLUSTER = randomCluster(randomFrom(7), 16, 8);

test("a restarted flanneld adopts the table: nothing is written, and no packet is judged wrongly", async (t) => {
  const bed = new PolicyBed(t);
  const filter = compile(CLUSTER);
  {
    await using first = filterOn(bed);
    assert.ok((await first.ensure(filter)).changeCount > 20);
  }
  bed.scripts.length = 0;
  for (let restart = 1; restart <= 3; restart++) {
    await using next = filterOn(bed);
    assert.deepEqual(await next.ensure(filter), { changeCount: 0, refused: [], cutProblem: undefined });
    assertPackets(bed, CLUSTER, restart, 200);
  }
  assert.deepEqual(bed.scripts, []);
  // What changed while no flanneld ran is the only difference.
  const changed = { ...CLUSTER, pods: CLUSTER.pods.slice(1) };
  await using last = filterOn(bed);
  const { changeCount } = await last.ensure(compile(changed));
  assert.ok(changeCount > 0 && changeCount < 20, String(changeCount));
  assert.equal(bed.scripts.length, 1);
  assert.doesNotMatch(bed.scripts[0]!, /flush set|delete table/);
  assertPackets(bed, changed, 4, 200);
});

test("drift: whatever a foreign program does to the table is repaired", async (t) => {
  const bed = new PolicyBed(t);
  await using policies = filterOn(bed);
  const filter = compile(CLUSTER);
  await policies.ensure(filter);
  const [chain] = filter.chains.keys();
  const [address] = filter.ingress.keys();
  const family = address!.includes(":") ? 6 : 4;
  const set = [...filter.sets.values()].find(
    ({ type, elements }) => type === "addresses" && elements.length > 0,
  )!;
  const table = ["inet", "flannel-policy"];
  for (const command of [
    ["delete", "table", ...table],
    ["flush", "chain", ...table, "forward"],
    ["flush", "chain", ...table, chain!],
    ["insert", "rule", ...table, chain!, "return"],
    ["flush", "chain", ...table, "deny-in4"],
    ["delete", "element", ...table, `in${family}`, `{ ${address} }`],
    ["flush", "map", ...table, "eg4"],
    ["flush", "set", ...table, "self4"],
    ["delete", "element", ...table, set.name, `{ ${set.elements[0]} }`],
    ["add", "element", ...table, set.name, set.family === 4 ? "{ 198.51.100.7 }" : "{ 2001:db8::7 }"],
    ["add", "chain", ...table, "foreign"],
    ["add", "set", ...table, "foreign", "{ type mark; }"],
  ]) {
    bed.nft(...command);
    policies.invalidate();
    const { changeCount, refused } = await policies.ensure(filter);
    assert.ok(changeCount > 0, command.join(" "));
    assert.deepEqual(refused, []);
    assertPackets(bed, CLUSTER, 5, 60);
  }
  policies.invalidate();
  assert.equal((await policies.ensure(filter)).changeCount, 0);
});

test("what nft refuses is reported, and the rest is programmed", async (t) => {
  const bed = new PolicyBed(t);
  await using policies = filterOn(bed);
  const filter = compile(CLUSTER);
  const set = [...filter.sets.values()].find(({ type }) => type === "addresses")!;
  const broken = { ...set, elements: [...set.elements, "300.1.1.1"].sort() };
  const { refused } = await policies.ensure({
    ...filter,
    sets: new Map([...filter.sets, [set.name, broken]]),
  });
  assert.equal(refused.length, 1);
  assert.match(refused[0]!, /300\.1\.1\.1/);
  assertPackets(bed, CLUSTER, 6, 200);
  assert.deepEqual(await policies.ensure(filter), { changeCount: 0, refused: [], cutProblem: undefined });
});

test("without nft: an error that says what to do; the next call works", async (t) => {
  const bed = new PolicyBed(t);
  let isInstalled = false;
  const exec = {
    run: async (command: string, args: readonly string[], stdin?: string) => {
      if (!isInstalled) throw Object.assign(new Error("not found"), { code: "ENOENT" });
      return bed.exec.run(command, args, stdin);
    },
  };
  await using policies = new PolicyFilter({ exec, logger: silentLogger, digest });
  const filter = compile(CLUSTER);
  await assert.rejects(policies.ensure(filter), /"nft" is not installed .* install the package "nftables"/);
  isInstalled = true;
  await policies.ensure(filter);
  assertPackets(bed, CLUSTER, 8, 100);
});

test("denied packets are counted by pod and direction, and logged on request; removal opens everything", async (t) => {
  const bed = new PolicyBed(t);
  await using policies = new PolicyFilter({ exec: bed.exec, logger: silentLogger, digest, logGroup: 7 });
  const filter = compile(CLUSTER);
  await policies.ensure(filter);
  const { denied } = assertPackets(bed, CLUSTER, 9, 300);
  const denials = await policies.denials();
  assert.equal(
    denials.reduce((sum, { packets }) => sum + packets, 0),
    denied,
  );
  for (const { address, direction, bytes } of denials) {
    assert.ok(filter[direction].has(address), address);
    assert.ok(bytes > 0);
  }
  assert.match(
    bed.nft("list", "chain", "inet", "flannel-policy", "deny-in4"),
    /limit rate 10\/second.* group 7/,
  );
  assert.equal(await removePolicyTable(bed.exec, { dryRun: true }), true);
  assert.equal(await removePolicyTable(bed.exec, { dryRun: false }), true);
  assert.equal(await removePolicyTable(bed.exec, { dryRun: false }), false);
  const packet = { source: "10.9.0.1", destination: "10.9.0.2", protocol: "TCP", port: 80 };
  assert.ok(bed.send(filter.ingress.size > 0 ? [{ ...packet, sourcePort: 9 }] : [])[0]);
});
