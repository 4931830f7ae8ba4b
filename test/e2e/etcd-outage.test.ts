/**
 * Outages of etcd under a store, by either API: restarts, silence, lost data, several endpoints. Connections pass proxies
 * that the test can cut.
 *
 *     store ──▶ line ──▶ etcd
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import { hasCode } from "../../src/base/error.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import { encodeLeaseValue } from "../../src/lease/lease-codec.ts";
import { freePort } from "../support/etcd.ts";
import { type ApiServer, ETCD_APIS, ETCD_V2, ETCD_V3 } from "../support/etcd-apis.ts";
import { startEtcd2 } from "../support/etcd2.ts";
import { follow } from "../support/follow.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { until } from "../support/until.ts";

const SUBNETS = "/coreos.com/network/subnets";
const network = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
const attributesOf = (host: number) => ({
  publicIp: parseIp(`192.168.0.${host}`),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" },
  backendV6Data: undefined,
});

const quick = { retryMinMs: 20, retryMaxMs: 200, lostDataGraceMs: 500 };
/** As quick as etcd allows with its minimum of 5 s turned down. Polls (v2) last about half a second. */
const eager = {
  ...quick,
  keepaliveIntervalMs: 150,
  keepaliveTimeoutMs: 200,
  requestTimeoutMs: 500,
  dialTimeoutMs: 300,
};
const ALLOW_EAGER = ["--grpc-keepalive-min-time", "100ms"];

const put = (etcd: Pick<ApiServer, "put">, host: number) =>
  etcd.put(`${SUBNETS}/10.5.${host}.0-24`, encodeLeaseValue(attributesOf(host)));
const portOf = ({ endpoint }: ApiServer) => Number(new URL(endpoint).port);

for (const api of ETCD_APIS) {
  describe(`an outage of ${api.name}`, () => {
    it("W1 takes no lease away; one line in the log when it begins, one when it is over; nothing is missed", async () => {
      await using etcd = await api.start();
      await using opened = api.open(etcd.endpoint, { timings: quick });
      await put(etcd, 1);
      await using watch = follow(opened.store);
      await until(() => watch.sees(1), "the first peer");
      await etcd.kill();
      await until(() => opened.log.length > 0, "the outage to be logged");
      await assert.rejects(opened.store.readNetworkConfig(), (error) => hasCode(error, "UNAVAILABLE"));
      assert.ok(watch.sees(1));
      await etcd.start();
      await put(etcd, 2);
      await until(() => watch.sees(2), "the second peer");
      assert.equal(watch.snapshots, 1);
      assert.equal(opened.log.length, 2, opened.log.join("\n"));
      assert.match(opened.log[0]!, /^warn Watch on the leases in etcd lost; retrying: etcd at http/);
      assert.match(opened.log[1]!, /^info Watch on the leases in etcd restored after [\d.]+ s$/);
    });

    it("is over when etcd comes up late", async () => {
      await using etcd = await api.start();
      await etcd.kill();
      await using opened = api.open(etcd.endpoint, { timings: quick });
      await using watch = follow(opened.store);
      await until(() => opened.log.length > 0, "the outage to be logged");
      await etcd.start();
      await put(etcd, 1);
      await until(() => watch.sees(1), "the peer");
    });

    it("W2 ends with another, empty etcd: the leases there count, those lost only for a while", async () => {
      await using etcd = await api.start();
      for (const host of [1, 2, 3, 4, 5]) await put(etcd, host);
      await using opened = api.open(etcd.endpoint, { timings: quick });
      await using watch = follow(opened.store);
      await until(() => watch.table.size === 5, "five peers");
      await etcd.kill();
      await etcd.startEmpty();
      await put(etcd, 9);
      await until(() => watch.sees(9), "the new peer");
      await until(() => watch.table.size === 1, "the new peer alone");
      assert.match(opened.log.join("\n"), /Datastore lost leases \(5\); they count for 0\.5 s more/);
      assert.match(
        opened.log.at(-1)!,
        /Dropped leases that the datastore lost and no host acquired again \(5\)/,
      );
    });

    it("W8 an own lease that was lost with the data is acquired again, with the same subnet", async () => {
      await using etcd = await api.start();
      await using opened = api.open(etcd.endpoint, { timings: quick });
      const request = { network, attributes: attributesOf(1) };
      const lease = await opened.store.acquire({ ...request, previous: undefined });
      await etcd.kill();
      await etcd.startEmpty();
      const renewal = opened.store.renew(lease, lease.attributes);
      await assert.rejects(renewal, (error) => hasCode(error, "LEASE_LOST"));
      assert.equal((await opened.store.acquire({ ...request, previous: lease.subnets })).key, lease.key);
    });

    it("is noticed when etcd hangs without closing anything", async () => {
      await using etcd = await api.start({ flags: ALLOW_EAGER });
      await using opened = api.open(etcd.endpoint, { timings: eager });
      await put(etcd, 1);
      await using watch = follow(opened.store);
      await until(() => watch.sees(1), "the first peer");
      etcd.freeze();
      await until(() => opened.log.length > 0, "the silence to be noticed");
      await assert.rejects(opened.store.readNetworkConfig(), (error) => hasCode(error, "UNAVAILABLE"));
      etcd.thaw();
      await put(etcd, 2);
      await until(() => watch.sees(2), "the second peer");
      assert.equal(watch.snapshots, 1);
    });

    it("is noticed when the line goes dead", async () => {
      await using etcd = await api.start({ flags: ALLOW_EAGER });
      await using line = await startTcpProxy(portOf(etcd));
      await using opened = api.open(`http://127.0.0.1:${line.port}`, { timings: eager });
      await put(etcd, 1);
      await using watch = follow(opened.store);
      await until(() => watch.sees(1), "the first peer");
      line.silence();
      await put(etcd, 2);
      await until(() => opened.log.length > 0, "the silence to be noticed");
      assert.equal(watch.sees(2), false);
      await line.restore();
      await until(() => watch.sees(2), "the peer made meanwhile");
      await put(etcd, 3);
      await until(() => watch.sees(3), "a peer after that");
      assert.equal(watch.snapshots, 1);
    });
  });

  describe(`several endpoints of ${api.name}`, () => {
    it("one that works is enough, and found within a second", async () => {
      await using etcd = await api.start();
      await using silent = await startTcpProxy(await freePort());
      silent.silence();
      const [dead, mute] = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${silent.port}`];
      await using opened = api.open([dead, etcd.endpoint], { timings: quick });
      const startMs = performance.now();
      const lease = await opened.store.acquire({ network, attributes: attributesOf(1), previous: undefined });
      assert.ok(performance.now() - startMs < 1_000, "past one that refuses");
      await using behind = api.open([dead, mute, etcd.endpoint], { timings: eager });
      const other = await behind.store.acquire({
        network,
        attributes: attributesOf(2),
        previous: undefined,
      });
      for (const [{ store }, own] of [
        [opened, lease],
        [behind, other],
      ] as const) {
        const renewalMs = performance.now();
        await store.renew(own, own.attributes);
        assert.ok(performance.now() - renewalMs < 1_000, "goes on with the one that works");
      }
    });

    it("requests and the watch go over to another within a second when one dies, and miss nothing", async () => {
      await using etcd = await api.start();
      await using one = await startTcpProxy(portOf(etcd));
      await using two = await startTcpProxy(portOf(etcd));
      const endpoints = [one, two].map((line) => `http://127.0.0.1:${line.port}`);
      await using opened = api.open(endpoints);
      const lease = await opened.store.acquire({ network, attributes: attributesOf(1), previous: undefined });
      await using watch = follow(opened.store);
      await until(() => watch.table.size === 1, "own lease");
      for (const [dying, other, host] of [
        [one, two, 202],
        [two, one, 203],
      ] as const) {
        await other.restore();
        await dying.cut();
        const startMs = performance.now();
        await opened.store.renew(lease, lease.attributes);
        await put(etcd, host);
        await until(() => watch.sees(host), "a peer through the other line");
        assert.ok(performance.now() - startMs < 1_000, "within a second");
      }
      assert.equal(watch.snapshots, 1);
    });

    it("a member that has lost the others is left", async () => {
      await using lost = await api.start({ flags: ALLOW_EAGER });
      await using etcd = await api.start({ flags: ALLOW_EAGER });
      await put(lost, 1);
      await put(etcd, 2);
      const endpoints = [lost.endpoint, etcd.endpoint];
      await using opened = api.open(endpoints, { timings: eager }, undefined, { random: () => 0 });
      await using watch = follow(opened.store);
      await until(() => watch.sees(1), "the peer at the first");
      // Half of two members is no majority.
      await lost.ctl("member", "add", "nobody", `--peer-urls=http://127.0.0.1:${await freePort()}`);
      await until(() => watch.sees(2) && !watch.sees(1), "the peer at the second");
    });
  });
}

describe("a quiet watch", () => {
  it("on etcd v3 is no outage", async () => {
    await using etcd = await ETCD_V3.start({ flags: ALLOW_EAGER });
    await using opened = ETCD_V3.open(etcd.endpoint, { timings: { ...eager, keepaliveTimeoutMs: 5_000 } });
    await using watch = follow(opened.store);
    await until(() => watch.snapshots === 1, "the snapshot");
    const pingedUntilMs = performance.now() + 5 * eager.keepaliveIntervalMs;
    await until(() => performance.now() > pingedUntilMs, "several pings");
    await put(etcd, 1);
    await until(() => watch.sees(1), "the peer");
    assert.deepEqual(opened.log, []);
  });

  it("on etcd v2 is no outage, and does not grow old while other keys change thousands of times", async () => {
    await using etcd = await startEtcd2();
    await using opened = ETCD_V2.open(etcd.endpoint, { timings: { ...quick, keepaliveIntervalMs: 150 } });
    await using watch = follow(opened.store);
    await until(() => watch.snapshots === 1, "the snapshot");
    for (let round = 0; round < 4; round++) {
      await etcd.forget(500);
      // Two requests for each: is there a leader, and the poll.
      const polled = opened.store.requestCount + 4;
      await until(() => opened.store.requestCount >= polled, "a new poll that begins now");
    }
    await etcd.ctl2("set", `${SUBNETS}/10.5.1.0-24`, encodeLeaseValue(attributesOf(1)));
    await until(() => watch.sees(1), "the peer");
    assert.equal(watch.snapshots, 1);
    assert.deepEqual(opened.log, []);
  });

  it("W3 on etcd v2 begins again with a snapshot if etcd forgot more than was seen", async () => {
    await using etcd = await startEtcd2();
    await using line = await startTcpProxy(Number(new URL(etcd.endpoint).port));
    await using opened = ETCD_V2.open(`http://127.0.0.1:${line.port}`, { timings: quick });
    const put2 = (host: number) =>
      etcd.ctl2("set", `${SUBNETS}/10.5.${host}.0-24`, encodeLeaseValue(attributesOf(host)));
    await put2(1);
    await put2(2);
    await using watch = follow(opened.store);
    await until(() => watch.table.size === 2, "both peers");
    await line.cut();
    await etcd.ctl2("rm", `${SUBNETS}/10.5.1.0-24`);
    await put2(3);
    await etcd.forget();
    await line.restore();
    await until(() => watch.sees(3) && !watch.sees(1) && watch.sees(2), "what changed meanwhile");
    assert.equal(watch.snapshots, 2);
    assert.ok(opened.log.some((line) => /Resyncing the leases: etcd has discarded older changes/.test(line)));
  });
});
