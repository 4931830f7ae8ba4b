/**
 * etcd going away and coming back under a store: restarts, silence, lost data, several endpoints. All connections pass
 * lines that the test can cut.
 *
 *     store ──▶ line ──▶ etcd
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import { hasCode } from "../../src/base/error.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import { encodeLeaseValue } from "../../src/lease/lease-codec.ts";
import { type EtcdServer, freePort, startEtcd } from "../support/etcd.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
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

const quick = { retryMinMs: 20, retryMaxMs: 200 };
/** As quick as etcd allows with its minimum of 5 s turned down. */
const eager = {
  ...quick,
  keepaliveIntervalMs: 200,
  keepaliveTimeoutMs: 200,
  requestTimeoutMs: 500,
  dialTimeoutMs: 300,
};
const ALLOW_EAGER = ["--grpc-keepalive-min-time", "100ms"];

const put = (etcd: EtcdServer, host: number) =>
  etcd.ctl("put", `${SUBNETS}/10.5.${host}.0-24`, encodeLeaseValue(attributesOf(host)));

describe("an outage of etcd", () => {
  it("W1 takes no lease away; one line in the log when it begins, one when it is over; nothing is missed", async () => {
    await using etcd = await startEtcd();
    await using opened = openEtcdStore(etcd.endpoint, { timings: quick });
    await put(etcd, 1);
    await using watch = follow(opened.store);
    await until(() => watch.sees(1), "the first peer");
    await etcd.kill();
    await until(() => opened.log.length > 0, "the outage to be told");
    await assert.rejects(opened.store.readNetworkConfig(), (error) => hasCode(error, "UNAVAILABLE"));
    assert.ok(watch.sees(1));
    await etcd.start();
    await put(etcd, 2);
    await until(() => watch.sees(2), "the second peer");
    assert.equal(watch.snapshots, 1);
    assert.equal(opened.log.length, 2, opened.log.join("\n"));
    assert.match(opened.log[0]!, /^warn lost the watch on the leases in etcd, trying again: etcd at http/);
    assert.match(opened.log[1]!, /^info watching the leases in etcd again after [\d.]+ s$/);
  });

  it("is over when etcd comes up late", async () => {
    await using etcd = await startEtcd();
    await etcd.kill();
    await using opened = openEtcdStore(etcd.endpoint, { timings: quick });
    await using watch = follow(opened.store);
    await until(() => opened.log.length > 0, "the outage to be told");
    await etcd.start();
    await put(etcd, 1);
    await until(() => watch.sees(1), "the peer");
  });

  it("W2 ends with another, empty etcd: the leases there count, those lost only for a while", async () => {
    await using etcd = await startEtcd();
    for (const host of [1, 2, 3, 4, 5]) await put(etcd, host);
    await using opened = openEtcdStore(etcd.endpoint, { timings: { ...quick, lostDataGraceMs: 500 } });
    await using watch = follow(opened.store);
    await until(() => watch.table.size === 5, "five peers");
    await etcd.kill();
    await etcd.startEmpty();
    await put(etcd, 9);
    await until(() => watch.sees(9), "the new peer");
    await until(() => watch.table.size === 1, "the new peer alone");
    assert.match(opened.log.join("\n"), /the datastore has lost leases \(5\): they count for 0\.5 s more/);
    assert.match(opened.log.at(-1)!, /given up leases that the datastore lost and nobody wrote again \(5\)/);
  });

  it("is noticed when etcd hangs without closing anything", async () => {
    await using etcd = await startEtcd({ flags: ALLOW_EAGER });
    await using opened = openEtcdStore(etcd.endpoint, { timings: eager });
    await put(etcd, 1);
    await using watch = follow(opened.store);
    await until(() => watch.sees(1), "the first peer");
    etcd.freeze();
    await until(() => opened.log.length > 0, "the silence to be noticed");
    await assert.rejects(opened.store.readNetworkConfig(), (error) => hasCode(error, "UNAVAILABLE"));
    etcd.thaw();
    await put(etcd, 2);
    await until(() => watch.sees(2), "the second peer");
  });

  it("is noticed when the line goes dead", async () => {
    await using etcd = await startEtcd({ flags: ALLOW_EAGER });
    await using line = await startTcpProxy(Number(new URL(etcd.endpoint).port));
    await using opened = openEtcdStore(`http://127.0.0.1:${line.port}`, { timings: eager });
    await put(etcd, 1);
    await using watch = follow(opened.store);
    await until(() => watch.sees(1), "the first peer");
    line.silence();
    await until(() => opened.log.length > 0, "the silence to be noticed");
    await line.mend();
    await put(etcd, 2);
    await until(() => watch.sees(2), "the second peer");
  });

  it("a quiet watch is no outage", async () => {
    await using etcd = await startEtcd({ flags: ALLOW_EAGER });
    await using opened = openEtcdStore(etcd.endpoint, { timings: { ...eager, keepaliveTimeoutMs: 5_000 } });
    await using watch = follow(opened.store);
    await until(() => watch.snapshots === 1, "the snapshot");
    const pingedUntilMs = performance.now() + 5 * eager.keepaliveIntervalMs;
    await until(() => performance.now() > pingedUntilMs, "several pings");
    await put(etcd, 1);
    await until(() => watch.sees(1), "the peer");
    assert.deepEqual(opened.log, []);
  });
});

describe("several endpoints", () => {
  it("one that works is enough, and found fast", async () => {
    await using etcd = await startEtcd();
    await using silent = await startTcpProxy(await freePort());
    silent.silence();
    const endpoints = [
      `http://127.0.0.1:${await freePort()}`,
      `http://127.0.0.1:${silent.port}`,
      etcd.endpoint,
    ];
    await using opened = openEtcdStore(endpoints, { timings: { ...eager, requestTimeoutMs: 1_500 } });
    const lease = await opened.store.acquire({ network, attributes: attributesOf(1), previous: undefined });
    const startMs = performance.now();
    await opened.store.renew(lease, lease.attributes);
    assert.ok(performance.now() - startMs < 1_500, "goes on with the one that works");
  });

  it("the watch goes over to another when one fails, and misses nothing", async () => {
    await using etcd = await startEtcd();
    const port = Number(new URL(etcd.endpoint).port);
    await using one = await startTcpProxy(port);
    await using two = await startTcpProxy(port);
    const endpoints = [one, two].map((line) => `http://127.0.0.1:${line.port}`);
    await using opened = openEtcdStore(endpoints, { timings: quick });
    const lease = await opened.store.acquire({ network, attributes: attributesOf(1), previous: undefined });
    await using watch = follow(opened.store);
    await until(() => watch.table.size === 1, "own lease");
    await one.cut();
    await put(etcd, 202);
    await until(() => watch.sees(202), "a peer through the second line");
    await opened.store.renew(lease, lease.attributes);
    await one.mend();
    await two.cut();
    await put(etcd, 203);
    await until(() => watch.sees(203), "a peer through the first line again");
    assert.equal(watch.snapshots, 1);
  });
});
