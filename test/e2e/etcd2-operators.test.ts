/** The v2 store with the v2 commands of etcdctl, as documented for Go flannel. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, beforeEach, describe, it } from "node:test";
import { promisify } from "node:util";
import { formatIp, parseIp } from "../../src/address/ip.ts";
import { formatPrefix } from "../../src/address/prefix.ts";
import { hasCode, messageOf } from "../../src/base/error.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import type { EtcdOptions } from "../../src/lease/etcd/etcd-options.ts";
import type { LeaseStore } from "../../src/lease/lease-store.ts";
import { openEtcd2Store, openEtcdStore } from "../support/etcd-store.ts";
import { type Etcd2Server, startEtcd2 } from "../support/etcd2.ts";
import { follow } from "../support/follow.ts";
import { until } from "../support/until.ts";
import { VXLAN_ATTRIBUTES, VXLAN_NETWORK, VXLAN_VALUE } from "../support/vxlan-host.ts";

const PREFIX = "/coreos.com/network";
const dualNetwork = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
);
/** As Go flannel 0.10 writes it, without IPv6. */
const GO_VALUE =
  '{"PublicIP":"192.168.64.9","BackendType":"vxlan","BackendData":{"VtepMAC":"36:17:3e:ab:9b:01"}}';

let etcd: Etcd2Server;
before(async () => {
  etcd = await startEtcd2();
});
after(() => etcd[Symbol.asyncDispose]());
beforeEach(async () => {
  await etcd.ctl2("mk", `${PREFIX}/subnets/anything`, "x").catch(() => {});
  await etcd.ctl2("rm", "--recursive", PREFIX);
});

const open = (options: Partial<EtcdOptions> = {}) =>
  openEtcd2Store(etcd.endpoint, { timings: { retryMinMs: 20, retryMaxMs: 200 }, ...options });
const acquire = (store: LeaseStore) =>
  store.acquire({ network: VXLAN_NETWORK, attributes: VXLAN_ATTRIBUTES, previous: undefined });
const nodeOf = async (key: string) =>
  JSON.parse(await etcd.ctl2("--output", "json", "get", `${PREFIX}/subnets/${key}`)).node;

describe("etcdctl's v2 commands", () => {
  it("mk and set write the config, also under other prefixes", async () => {
    await using first = open();
    await assert.rejects(first.store.readNetworkConfig(), (error) => {
      assert.ok(hasCode(error, "NOT_FOUND"));
      assert.match(messageOf(error), /ETCDCTL_API=2 etcdctl set \/coreos\.com\/network\/config '\{"Network"/);
      return true;
    });
    await etcd.ctl2("mk", `${PREFIX}/config`, '{"Network": "10.8.0.0/16"}');
    assert.equal(await first.store.readNetworkConfig(), '{"Network": "10.8.0.0/16"}');
    await etcd.ctl2("set", "/atomic.io/network/config", '{ "Network": "172.17.0.0/16" }');
    for (const prefix of ["/atomic.io/network", "atomic.io/network", "/atomic.io//x/../network/"]) {
      await using second = open({ prefix });
      assert.equal(await second.store.readNetworkConfig(), '{ "Network": "172.17.0.0/16" }');
    }
  });

  it("a changed or removed config is noticed", async () => {
    await etcd.ctl2("mk", `${PREFIX}/config`, "one");
    await using opened = open();
    await opened.store.readNetworkConfig();
    const abort = new AbortController();
    const seen: (string | undefined)[] = [];
    const done = (async () => {
      for await (const text of opened.store.watchNetworkConfig(abort.signal)) seen.push(text);
    })();
    await until(() => seen.length === 1, "the current config");
    await etcd.ctl2("set", `${PREFIX}/config`, "two");
    await until(() => seen.length === 2, "the change");
    await etcd.ctl2("rm", `${PREFIX}/config`);
    await until(() => seen.length === 3, "the removal");
    await etcd.ctl2("mk", `${PREFIX}/config`, "three");
    await until(() => seen.length === 4, "the new one");
    await etcd.ctl2("rm", "--recursive", PREFIX);
    await until(() => seen.length === 5, "the removal with its directory");
    abort.abort();
    await done;
    assert.deepEqual(seen, ["one", "two", undefined, "three", undefined]);
  });

  it("get and ls show a lease byte for byte as Go flannel writes it, with a TTL of a day", async () => {
    await using opened = open();
    const own = await acquire(opened.store);
    assert.equal((await etcd.ctl2("ls", `${PREFIX}/subnets`)).trim(), `${PREFIX}/subnets/${own.key}`);
    assert.equal((await etcd.ctl2("get", `${PREFIX}/subnets/${own.key}`)).trimEnd(), VXLAN_VALUE);
    const { ttl } = await nodeOf(own.key);
    assert.ok(ttl > 86_390 && ttl <= 86_400, String(ttl));
    assert.ok(Math.abs(own.expiresAtMs! - Date.now() - 86_400_000) < 10_000);
  });

  it("a dual-stack key is the same in etcdctl and the store", async () => {
    await using opened = open();
    const attributes = {
      ...VXLAN_ATTRIBUTES,
      publicIpv6: parseIp("fd00::3"),
      backendV6Data: VXLAN_ATTRIBUTES.backendData,
    };
    const own = await opened.store.acquire({ network: dualNetwork, attributes, previous: undefined });
    assert.match(own.key, /^10\.5\.\d+\.0-24&fc00:[\da-f:]+-64$/);
    assert.equal((await etcd.ctl2("ls", `${PREFIX}/subnets`)).trim(), `${PREFIX}/subnets/${own.key}`);
    await etcd.ctl2("set", "--ttl", "60", `${PREFIX}/subnets/10.5.200.0-24&fc00:0:0:c8::-64`, GO_VALUE);
    await using watch = follow(opened.store);
    await until(() => watch.table.size === 2, "both leases");
    const peer = watch.table.get("10.5.200.0-24&fc00:0:0:c8::-64")!;
    assert.equal(formatPrefix(peer.subnets.ipv6!), "fc00:0:0:c8::/64");
    assert.equal(formatIp(peer.attributes.publicIp!), "192.168.64.9");
    await opened.store.renew(own, attributes);
    await etcd.ctl2("rm", `${PREFIX}/subnets/10.5.200.0-24&fc00:0:0:c8::-64`);
    await until(() => watch.table.size === 1, "the peer to go");
  });

  it("a host that migrates from Go flannel keeps its subnet", async () => {
    const value = GO_VALUE.replace("192.168.64.9", "192.168.64.3");
    await etcd.ctl2("set", "--ttl", "3600", `${PREFIX}/subnets/10.5.77.0-24`, value);
    await using opened = open();
    assert.equal((await acquire(opened.store)).key, "10.5.77.0-24");
    const node = await nodeOf("10.5.77.0-24");
    assert.equal(node.value, VXLAN_VALUE);
    assert.ok(node.ttl > 86_000);
  });

  it("W7 set without --ttl makes a reservation, also of an acquired lease", async () => {
    await using opened = open();
    const own = await acquire(opened.store);
    await etcd.ctl2("set", `${PREFIX}/subnets/${own.key}`, VXLAN_VALUE);
    assert.equal((await opened.store.renew(own, VXLAN_ATTRIBUTES)).expiresAtMs, undefined);
    assert.equal((await nodeOf(own.key)).expiration, undefined);
  });

  it("rm --recursive of all subnets removes all peers; later leases are noticed", async () => {
    await etcd.ctl2("set", `${PREFIX}/subnets/10.5.1.0-24`, GO_VALUE);
    await using opened = open();
    await using watch = follow(opened.store);
    await until(() => watch.table.size === 1, "the peer");
    await etcd.ctl2("rm", "--recursive", `${PREFIX}/subnets`);
    await until(() => watch.table.size === 0, "the peer to go");
    await etcd.ctl2("set", `${PREFIX}/subnets/10.5.2.0-24`, GO_VALUE);
    await until(() => watch.table.size === 1, "a later peer");
    await etcd.ctl2("rm", "--recursive", PREFIX);
    await until(() => watch.table.size === 0, "the removal with the prefix");
  });

  it("W1 directories, empty values and malformed names among the leases are skipped", async () => {
    await etcd.ctl2("mkdir", `${PREFIX}/subnets/10.5.3.0-24`);
    await etcd.ctl2("set", `${PREFIX}/subnets/10.5.3.0-24/deep/deeper`, GO_VALUE);
    await etcd.ctl2("set", `${PREFIX}/subnets/10.5.4.0-24%26fc00::-64`, GO_VALUE);
    await etcd.ctl2("set", `${PREFIX}/subnets/a%b c?d#é`, GO_VALUE);
    await etcd.ctl2("set", `${PREFIX}/subnets/10.5.5.0-24`, " ");
    await etcd.ctl2("set", `${PREFIX}/subnets/10.5.1.0-24`, GO_VALUE);
    await using opened = open();
    await using watch = follow(opened.store);
    await until(() => watch.table.size === 1, "the good lease");
    await acquire(opened.store);
    await until(() => watch.table.size === 2, "own lease");
    await etcd.ctl2("rm", "--recursive", `${PREFIX}/subnets/10.5.3.0-24`);
    await etcd.ctl2("set", `${PREFIX}/subnets/10.5.202.0-24`, GO_VALUE);
    await until(() => watch.table.size === 3, "another lease");
    assert.equal(opened.log.filter((line) => line.startsWith("warn Skipped")).length, 4);
  });

  it("W4 a lease that an older one overlaps is given up: its host had crashed before checking for overlaps", async () => {
    const [theirs, own] = ["10.5.7.0-24&fc00:0:0:7::-64", "10.5.7.0-24&fc00:0:0:8::-64"];
    await etcd.ctl2("set", "--ttl", "60", `${PREFIX}/subnets/${theirs}`, GO_VALUE);
    await etcd.ctl2("set", "--ttl", "60", `${PREFIX}/subnets/${own}`, VXLAN_VALUE);
    await using opened = open();
    const lease = await opened.store.acquire({
      network: dualNetwork,
      attributes: VXLAN_ATTRIBUTES,
      previous: undefined,
    });
    assert.notEqual(lease.key, own);
    const keys = (await etcd.ctl2("ls", "--sort", `${PREFIX}/subnets`)).trim().split("\n");
    assert.deepEqual(keys.sort(), [theirs, lease.key].map((key) => `${PREFIX}/subnets/${key}`).sort());
  });

  it("a key in place of the directory is reported", async () => {
    await etcd.ctl2("set", `${PREFIX}/subnets`, "oops");
    await using opened = open();
    await assert.rejects(acquire(opened.store), (error) => {
      assert.match(messageOf(error), /\/subnets is a key where a directory is needed: delete it/);
      return hasCode(error, "INVALID");
    });
  });
});

describe("moving to etcd v3", () => {
  it("with the commands of docs/etcd-v2.md, hosts keep their subnets", async () => {
    const page = readFileSync(new URL("../../docs/etcd-v2.md", import.meta.url), "utf8");
    const commands = page.slice(page.indexOf("## Moving to v3")).match(/^ {4}.*$/gm)!;
    await etcd.ctl2("set", `${PREFIX}/config`, '{"Network":"10.5.0.0/16"}');
    await etcd.ctl2("set", "--ttl", "60", `${PREFIX}/subnets/10.5.200.0-24&fc00:0:0:c8::-64`, GO_VALUE);
    await using opened = open();
    const own = await acquire(opened.store);
    await promisify(execFile)("sh", ["-ec", commands.join("\n")], {
      env: { ...process.env, ETCDCTL_ENDPOINTS: etcd.endpoint, ETCDCTL_ENDPOINT: etcd.endpoint },
    });
    await using moved = openEtcdStore(etcd.endpoint);
    assert.equal(await moved.store.readNetworkConfig(), '{"Network":"10.5.0.0/16"}');
    assert.equal((await acquire(moved.store)).key, own.key);
    await using watch = follow(moved.store);
    await until(() => watch.table.size === 2, "both leases");
    const peer = watch.table.get("10.5.200.0-24&fc00:0:0:c8::-64");
    assert.equal(formatIp(peer!.attributes.publicIp!), "192.168.64.9");
  });
});

describe("a host's start on etcd v2", () => {
  it("W5 costs the same few requests with 10 and with 3,000 leases, first start and restart", async () => {
    for (const count of [10, 3_000]) {
      const prefix = `/flannel-${count}`;
      await etcd.ctl2("set", `${prefix}/config`, '{"Network":"10.0.0.0/8"}');
      let next = 0;
      const fill = async () => {
        while (next < count) {
          const host = next++;
          const value = `{"PublicIP":"172.16.${host >> 8}.${host & 255}"}`;
          const key = `10.${100 + (host >> 8)}.${host & 255}.0-24`;
          const answer = await fetch(`${etcd.endpoint}/v2/keys${prefix}/subnets/${key}`, {
            method: "PUT",
            body: new URLSearchParams({ value }),
          });
          assert.ok(answer.ok);
          await answer.arrayBuffer();
        }
      };
      await Promise.all(Array.from({ length: 32 }, fill));
      for (const requests of [6, 5]) {
        await using opened = open({ prefix });
        const config = parseNetworkConfig(await opened.store.readNetworkConfig());
        await opened.store.acquire({ network: config, attributes: VXLAN_ATTRIBUTES, previous: undefined });
        const abort = new AbortController();
        const configs = (async () => {
          for await (const _ of opened.store.watchNetworkConfig(abort.signal));
        })();
        await using watch = follow(opened.store);
        await until(() => watch.table.size === count + 1, "all leases");
        await until(() => opened.store.requestCount >= requests, "all requests");
        // On a restart, the poll begins before the host's own write and reports that as its first change.
        const tolerated = requests === 5 ? 1 : 0;
        assert.ok(opened.store.requestCount <= requests + tolerated, String(opened.store.requestCount));
        assert.equal(watch.snapshots, 1);
        abort.abort();
        await configs;
      }
    }
  });
});
