/** Hosts of Go flannel and of this project on one etcd: keys, values and etcd leases. etcdctl writes those of Go flannel. */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { formatIp } from "../../src/address/ip.ts";
import { formatPrefix } from "../../src/address/prefix.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import { createLeaseTable } from "../../src/lease/lease-table.ts";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { until } from "../support/until.ts";
import { VXLAN_ATTRIBUTES, VXLAN_NETWORK, VXLAN_VALUE } from "../support/vxlan-host.ts";

const PREFIX = "/coreos.com/network";
const GO_VALUE =
  '{"PublicIP":"192.168.64.9","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"36:17:3e:ab:9b:01"}}';

let etcd: EtcdServer;
before(async () => {
  etcd = await startEtcd();
});
after(() => etcd[Symbol.asyncDispose]());
beforeEach(async () => void (await etcd.ctl("del", "--prefix", PREFIX)));

const grant = async (ttlSeconds: number) =>
  /lease (\w+) granted/.exec(await etcd.ctl("lease", "grant", `${ttlSeconds}`))![1]!;
const write = (key: string, value: string, lease: string) =>
  etcd.ctl("put", `--lease=${lease}`, `${PREFIX}/subnets/${key}`, value);
const readValue = async (key: string) =>
  (await etcd.ctl("get", "--print-value-only", `${PREFIX}/subnets/${key}`)).trimEnd();
const acquire = (opened: ReturnType<typeof openEtcdStore>) =>
  opened.store.acquire({ network: VXLAN_NETWORK, attributes: VXLAN_ATTRIBUTES, previous: undefined });

describe("a cluster shared with Go flannel", () => {
  it("a lease of Go flannel is decoded", async () => {
    const lease = await grant(86_400);
    await write(
      "10.5.52.0-24&fc00:0:0:34::-64",
      GO_VALUE.replace('"PublicIPv6":null', '"PublicIPv6":"fd00::9"'),
      lease,
    );
    await write("10.5.53.0-24", '{"PublicIP":"192.168.64.8","PublicIPv6":null}', lease);
    await using opened = openEtcdStore(etcd.endpoint);
    const table = createLeaseTable();
    const abort = new AbortController();
    for await (const update of opened.store.watchLeases(abort.signal)) {
      table.apply(update);
      if (table.size === 2) abort.abort();
    }
    const dual = table.get("10.5.52.0-24&fc00:0:0:34::-64")!;
    assert.equal(formatPrefix(dual.subnets.ipv4!), "10.5.52.0/24");
    assert.equal(formatPrefix(dual.subnets.ipv6!), "fc00:0:0:34::/64");
    assert.equal(formatIp(dual.attributes.publicIp!), "192.168.64.9");
    assert.equal(formatIp(dual.attributes.publicIpv6!), "fd00::9");
    assert.equal(dual.attributes.backendType, "vxlan");
    assert.deepEqual(dual.attributes.backendData, { VNI: 1, VtepMAC: "36:17:3e:ab:9b:01" });
    assert.equal(table.get("10.5.53.0-24")?.attributes.backendType, "");
  });

  it("a lease is byte for byte what Go flannel writes, on an etcd lease of a day", async () => {
    await using opened = openEtcdStore(etcd.endpoint);
    const own = await acquire(opened);
    assert.equal(await readValue(own.key), VXLAN_VALUE);
    const { kvs } = JSON.parse(await etcd.ctl("get", "--write-out=json", "--prefix", `${PREFIX}/subnets/`));
    assert.equal(Buffer.from(kvs[0].key, "base64").toString(), `${PREFIX}/subnets/${own.key}`);
    const list = (await etcd.ctl("lease", "list")).trim().split("\n").slice(1);
    const lives = await Promise.all(list.map((id) => etcd.ctl("lease", "timetolive", "--keys", id)));
    const life = lives.find((text) => text.includes(own.key));
    assert.match(life ?? "", /granted with TTL\(86400s\)/);
  });

  it("a host that migrates keeps its subnet and the etcd lease that Go flannel granted", async () => {
    const lease = await grant(86_400);
    await write("10.5.77.0-24", VXLAN_VALUE.replace("c6:d2:32:6f:8f:44", "36:17:3e:ab:9b:01"), lease);
    await using opened = openEtcdStore(etcd.endpoint);
    const own = await acquire(opened);
    assert.equal(own.key, "10.5.77.0-24");
    assert.equal(await readValue(own.key), VXLAN_VALUE);
    assert.match(await etcd.ctl("lease", "timetolive", "--keys", lease), /10\.5\.77\.0-24/);
  });

  it("a key on an etcd lease with a short TTL moves to a new one and stays when the old one ends", async () => {
    const short = await grant(60);
    await write("10.5.77.0-24", VXLAN_VALUE, short);
    await using opened = openEtcdStore(etcd.endpoint);
    const own = await acquire(opened);
    assert.equal(own.key, "10.5.77.0-24");
    assert.ok(own.expiresAtMs! > Date.now() + 86_000_000);
    await etcd.ctl("lease", "revoke", short);
    assert.equal(await readValue(own.key), VXLAN_VALUE);
    await opened.store.renew(own, VXLAN_ATTRIBUTES);
  });

  it("replacing a shared etcd lease keeps the other host's key", async () => {
    const shared = await grant(60);
    await write("10.5.77.0-24", VXLAN_VALUE, shared);
    await write("10.5.78.0-24", GO_VALUE, shared);
    await using opened = openEtcdStore(etcd.endpoint);
    await acquire(opened);
    assert.equal(await readValue("10.5.78.0-24"), GO_VALUE);
  });

  it("W4 a failed start leaves no etcd lease", async () => {
    const count = async () => (await etcd.ctl("lease", "list")).trim().split("\n").length;
    const before = await count();
    const tiny = parseNetworkConfig(
      '{"Network":"10.5.0.0/24","SubnetMin":"10.5.0.64","SubnetMax":"10.5.0.64"}',
    );
    await write("10.5.0.64-26", GO_VALUE, await grant(86_400));
    await using opened = openEtcdStore(etcd.endpoint);
    await assert.rejects(
      opened.store.acquire({ network: tiny, attributes: VXLAN_ATTRIBUTES, previous: undefined }),
    );
    await until(async () => (await count()) === before + 1, "only the other host's lease to remain");
  });
});
