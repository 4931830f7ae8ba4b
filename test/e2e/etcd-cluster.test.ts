/** Many hosts on one etcd cluster: what they ask of it when all start, or lose it, in one moment; and a member alone. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Logger } from "../../src/base/logger.ts";
import type { KeyLeaseStore } from "../../src/lease/keys/key-lease-store.ts";
import { freePort, startEtcd } from "../support/etcd.ts";
import { startEtcdCluster } from "../support/etcd-cluster.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { attributesOf, type LeaseHost, NETWORK_TEXT, startLeaseHost } from "../support/lease-host.ts";
import { until } from "../support/until.ts";

const CONFIG_KEY = "/coreos.com/network/config";
const SUBNETS = "/coreos.com/network/subnets";
const HOSTS = 50;
const PEER = '{"PublicIP":"192.168.9.9","PublicIPv6":null}';

/** RPCs that a member has served, by its own count; a stream is one. Those of etcdctl are not to be in between. */
async function servedBy(endpoint: string): Promise<number> {
  const text = await (await fetch(`${endpoint}/metrics`)).text();
  const counts = [...text.matchAll(/^grpc_server_started_total\{[^}]*\} (\S+)$/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

describe(`${HOSTS} hosts on a cluster of three`, () => {
  it("start at once, lose the whole cluster at once, and recover: each host has a lease, no request storm", async () => {
    await using cluster = await startEtcdCluster();
    await cluster.members[0]!.ctl("put", CONFIG_KEY, NETWORK_TEXT);
    const before = await Promise.all(cluster.endpoints.map(servedBy));
    const stores: KeyLeaseStore[] = [];
    const open = (logger: Logger) => {
      const { store } = openEtcdStore(cluster.endpoints, { timings: { retryMaxMs: 1_000 } }, logger);
      stores.push(store);
      return store;
    };
    const requests = () => stores.reduce((sum, { requestCount }) => sum + requestCount, 0);
    await using parts = new AsyncDisposableStack();
    const numbers = Array.from({ length: HOSTS }, (_, index) => index + 1);
    const hosts: LeaseHost[] = await Promise.all(
      numbers.map(async (number) => parts.use(await startLeaseHost(number, open))),
    );
    const all = () => hosts.every((host) => host.table.size === HOSTS && host.keeper.problem === undefined);
    await until(all, "everyone to know everyone", 30_000);
    assert.equal(new Set(hosts.map((host) => host.keeper.own!.key)).size, HOSTS);

    // Config, listing, etcd lease, transaction, two watches; and two or three more for each race that was lost.
    const atStart = requests();
    assert.ok(atStart >= 6 * HOSTS && atStart <= 15 * HOSTS, `${atStart} requests`);
    const served = await Promise.all(cluster.endpoints.map(servedBy));
    const shares = served.map((count, member) => count - before[member]!);
    for (const share of shares) assert.ok(share > atStart / 10, `each member has its part: ${shares}`);

    const quietSinceMs = performance.now();
    await until(() => performance.now() - quietSinceMs > 1_000, "a quiet second");
    assert.equal(requests(), atStart, "who has a lease and sees all others asks for nothing");

    await Promise.all(cluster.members.map((member) => member.kill()));
    const lostSinceMs = performance.now();
    await until(() => performance.now() - lostSinceMs > 2_500, "pauses at their limit");
    const inOutage = requests() - atStart;
    assert.equal(inOutage, 0, "no member serves requests");
    await Promise.all(cluster.members.map((member) => member.start()));
    await cluster.leader();
    const isWatching = (host: LeaseHost) =>
      host.log.filter((line) => /Watch on the .* in etcd restored/.test(line)).length === 2;
    await until(() => hosts.every(isWatching), "all watches", 30_000);
    const peer = `${SUBNETS}/10.5.240.0-24`;
    await cluster.members[0]!.ctl("put", peer, PEER);
    await until(() => hosts.every((host) => host.table.get("10.5.240.0-24")), "a peer");
    // For each of the two watches the stream, and the look whether it is the same store; some come before the leader.
    const toComeBack = requests() - atStart;
    assert.ok(toComeBack >= 4 * HOSTS && toComeBack <= 20 * HOSTS, `${toComeBack} requests`);
    for (const host of hosts) assert.deepEqual(host.keys.length, 1);
    console.log(
      `${HOSTS} hosts: ${atStart} requests to start (${shares.join(", ")} by member), ${toComeBack} to come back`,
    );
  });
});

describe("a member without a leader", () => {
  it("is left, though it answers", async () => {
    await using alone = await startEtcd({ flags: ["--strict-reconfig-check=false"] });
    await using other = await startEtcd();
    for (const etcd of [alone, other]) await etcd.ctl("put", CONFIG_KEY, NETWORK_TEXT);
    let drawn = 0;
    const random = () => (drawn++ === 0 ? 0 : Math.random());
    await using host = await startLeaseHost(
      1,
      (logger) => openEtcdStore([alone.endpoint, other.endpoint], {}, logger, { random }).store,
    );
    assert.match(await alone.ctl("get", "--keys-only", "--prefix", SUBNETS), /subnets/);
    // One of two members is no majority.
    await alone.ctl("member", "add", "nobody", `--peer-urls=http://127.0.0.1:${await freePort()}`);
    const key = `${SUBNETS}/${host.keeper.own!.key}`;
    await until(
      async () => (await other.ctl("get", "--keys-only", key)).trim() === key,
      "its lease elsewhere",
    );
    await until(() => host.keeper.problem === undefined, "it to be held");
    await host.store.renew(host.keeper.own!, attributesOf(1));
    assert.ok(
      host.log.some((line) => /Watch on the leases .*lost.*no leader/.test(line)),
      host.log.join("\n"),
    );
  });
});
