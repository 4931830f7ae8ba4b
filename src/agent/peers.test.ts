import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { silentLogger } from "../base/logger.ts";
import type { Lease } from "../lease/lease.ts";
import type { LeaseStore, LeaseUpdate } from "../lease/lease-store.ts";
import { createLeaseTable } from "../lease/lease-table.ts";
import type { LeaseChanges } from "../recorder/input-changes.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import { ownSubnetProblems, PeerFollower, sharedAddressProblems } from "./peers.ts";

const node = (key: string, publicIp: string, publicIpv6?: string): Lease => ({
  key,
  subnets: { ipv4: undefined, ipv6: undefined },
  attributes: {
    publicIp: parseIp(publicIp),
    publicIpv6: publicIpv6 === undefined ? undefined : parseIp(publicIpv6),
    backendType: "vxlan",
    backendData: undefined,
    backendV6Data: undefined,
  },
});

function problems(leases: readonly Lease[], ownKey?: string, reported: readonly string[] = []): string[] {
  const table = createLeaseTable();
  table.apply({ type: "snapshot", leases });
  const known = reported.map((key) => ({ key, message: "no MAC" }));
  return sharedAddressProblems(table.sharedPublicIps(), ownKey, known).map(
    ({ key, message }) => `${key}: ${message.split(",")[0]}`,
  );
}

test("two hosts with one public address: one of the two is named, always the same", () => {
  const leases = [node("c", "192.0.2.1"), node("b", "192.0.2.2"), node("a", "192.0.2.1")];
  const expected = ["c: its public IP 192.0.2.1 is also that of a"];
  assert.deepEqual(problems(leases), expected);
  assert.deepEqual(problems(leases.toReversed()), expected);
  assert.deepEqual(problems(leases, "c"), ["a: its public IP 192.0.2.1 is also that of this host"]);
  assert.deepEqual(problems(leases, "b", ["c"]), [], "its problem was reported already");
  assert.deepEqual(problems([node("a", "192.0.2.1"), node("b", "192.0.2.2")]), []);
});

test("the families are apart", () => {
  const leases = [node("a", "0.0.0.9", "::9"), node("b", "192.0.2.2", "::9"), node("c", "192.0.2.3", "::9")];
  assert.deepEqual(problems(leases), [
    "b: its public IP ::9 is also that of a",
    "c: its public IP ::9 is also that of a",
  ]);
});

test("F2 a host whose subnet overlaps an established one learns that peers do not route to it", () => {
  const lease = (key: string, subnet: string, establishedAt: bigint): Lease => ({
    ...node(key, "192.0.2.1"),
    subnets: { ipv4: parsePrefix(subnet), ipv6: undefined },
    establishedAt,
  });
  const [h1, aaa] = [lease("h1", "10.5.0.0/24", 1n), lease("aaa", "10.5.0.0/22", 2n)];
  assert.deepEqual(ownSubnetProblems(h1, [aaa]), []);
  assert.match(
    ownSubnetProblems(aaa, [h1, lease("h2", "10.5.9.0/24", 1n)]).join(),
    /^Peers do not route to this host: its subnet 10\.5\.0\.0\/22 overlaps 10\.5\.0\.0\/24 of h1, which was established first/,
  );
  assert.deepEqual(ownSubnetProblems(undefined, [h1]), []);
});

const leaseOf = (number: number, publicIp = `192.0.2.${number}`): Lease => ({
  ...node(`10.5.${number}.0-24`, publicIp),
  subnets: { ipv4: parsePrefix(`10.5.${number}.0/24`), ipv6: undefined },
});

/** A follower of the updates that a test sends; this host has lease 1. */
async function startFollower(t: TestContext) {
  const timers = new FakeTimers();
  const updates: LeaseUpdate[] = [];
  const abort = new AbortController();
  let wake = () => {};
  async function* watchLeases(signal: AbortSignal) {
    signal.addEventListener("abort", () => wake());
    while (!signal.aborted) {
      if (updates.length > 0) yield updates.shift()!;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  }
  const log: string[] = [];
  const observed: (Lease | undefined)[] = [];
  const reported: LeaseChanges[] = [];
  const follower = new PeerFollower(
    {
      store: { watchLeases } as unknown as LeaseStore,
      logger: { ...silentLogger, info: (line) => log.push(line) },
      timers,
    },
    { own: { ...leaseOf(1), expiresAtMs: undefined }, observe: (lease) => void observed.push(lease) },
    () => {},
    () => {},
    (changes) => reported.push(changes),
  );
  const running = follower.run(abort.signal);
  t.after(async () => {
    abort.abort();
    await running;
  });
  const send = async (...sent: LeaseUpdate[]) => {
    updates.push(...sent);
    wake();
    while (updates.length > 0) await new Promise(setImmediate);
    await new Promise(setImmediate);
  };
  await send({ type: "snapshot", leases: [leaseOf(1), leaseOf(2), leaseOf(3)] });
  const keys = () => follower.peers().map(({ key }) => key);
  return { timers, follower, send, keys, log, observed, reported };
}

test("F25 a peer whose lease was deleted counts for one more second, and stays if it acquires the lease again", async (t) => {
  const { timers, send, keys, log } = await startFollower(t);
  await send({ type: "delete", key: "10.5.2.0-24" });
  await timers.advance(900);
  assert.deepEqual(keys(), ["10.5.3.0-24", "10.5.2.0-24"]);
  await send({ type: "put", lease: leaseOf(2) });
  await timers.advance(5_000);
  assert.deepEqual(keys().sort(), ["10.5.2.0-24", "10.5.3.0-24"]);
  assert.match(log.at(-1)!, /^Peer acquired its lease again: 10\.5\.2\.0\/24/);
  await send({ type: "delete", key: "10.5.2.0-24" });
  await timers.advance(1_000);
  assert.deepEqual(keys(), ["10.5.3.0-24"]);
  assert.match(log.at(-1)!, /^Peer left: 10\.5\.2\.0\/24/);
});

test("F25 another claim on its subnet or another lease of the host ends that second at once", async (t) => {
  const { send, keys } = await startFollower(t);
  await send({ type: "delete", key: "10.5.2.0-24" }, { type: "delete", key: "10.5.3.0-24" });
  const heir: Lease = { ...leaseOf(9), subnets: { ipv4: parsePrefix("10.5.2.0/25"), ipv6: undefined } };
  await send({ type: "put", lease: heir }, { type: "put", lease: leaseOf(4, "192.0.2.3") });
  assert.deepEqual(keys(), ["10.5.9.0-24", "10.5.4.0-24"]);
});

test("F25 the same for peers that a new snapshot lacks, and never for the own lease", async (t) => {
  const { timers, send, keys, observed } = await startFollower(t);
  await send({ type: "snapshot", leases: [leaseOf(3)] });
  assert.deepEqual(keys(), ["10.5.3.0-24", "10.5.2.0-24"]);
  assert.equal(observed.at(-1), undefined);
  await timers.advance(1_000);
  assert.deepEqual(keys(), ["10.5.3.0-24"]);
});

test("the reported changes add up to the leases that count, after any updates, and renewals are told apart", async (t) => {
  const { timers, follower, send, reported } = await startFollower(t);
  const counted = new Map<string, Lease>();
  let random = 1;
  const draw = (limit: number) => {
    random = (random * 48_271) % 2_147_483_647; // Park and Miller's generator
    return random % limit;
  };
  let renewedAt = 1n;
  const leaseNow = () => ({
    ...leaseOf(1 + draw(6), `192.0.2.${1 + draw(8)}`),
    renewedAt: renewedAt++,
  });
  let renewals = 0;
  for (let step = 0; step < 400; step++) {
    const known = [...follower.table.peers(undefined)];
    const [some] = known.slice(draw(known.length + 1));
    const updates: LeaseUpdate[] = [
      { type: "put", lease: leaseNow() },
      { type: "put", lease: some === undefined ? leaseNow() : { ...some, renewedAt: renewedAt++ } },
      { type: "delete", key: leaseNow().key },
      { type: "snapshot", leases: known.slice(1) },
    ];
    await send(updates[draw(updates.length)]!);
    if (draw(3) === 0) await timers.advance(draw(1_200));
    for (const { changed, renewed, gone } of reported.splice(0)) {
      for (const key of gone) counted.delete(key);
      for (const lease of changed) counted.set(lease.key, lease);
      for (const lease of renewed) {
        const { subnets, attributes } = counted.get(lease.key)!;
        assert.deepEqual([subnets, attributes], [lease.subnets, lease.attributes]);
        counted.set(lease.key, lease);
        renewals++;
      }
    }
    const byKey = (a: Lease, b: Lease) => (a.key < b.key ? -1 : 1);
    const peers = [...counted.values()].filter(({ key }) => key !== leaseOf(1).key);
    assert.deepEqual(peers.sort(byKey), [...follower.peers()].sort(byKey), `step ${step}`);
    assert.deepEqual(counted.get(leaseOf(1).key), follower.table.get(leaseOf(1).key), `step ${step}`);
  }
  assert.ok(renewals > 20, String(renewals));
});
