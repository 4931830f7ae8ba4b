/** The Kubernetes store: what it makes of nodes, and what it writes of its own. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp, parseIp } from "../../src/address/ip.ts";
import { hasCode } from "../../src/base/error.ts";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import { follow } from "../support/follow.ts";
import { addPeer, annotationsIn, attributesOf, DUAL_NETWORK, macOf, NETWORK } from "../support/kube-store.ts";
import { makeKubeBed, subnetsOf } from "../support/kube-store-bed.ts";
import { until } from "../support/until.ts";

test("a start takes the same few requests however many nodes there are", async (t) => {
  const bed = await makeKubeBed(t);
  for (let host = 2; host < 200; host++) addPeer(bed.api, host);
  await bed.store.readHost();
  await bed.acquire();
  await using watch = follow(bed.store);
  await until(() => watch.table.size === 199 && bed.requests("watch") === 2, "all leases, and both watches");
  const requests = bed.api.requests.map(({ verb, resource }) => `${verb} ${resource}`);
  assert.deepEqual(requests.sort(), [
    "get nodes",
    "get nodes",
    "list nodes",
    "list nodes",
    "patch nodes/status",
    "watch nodes",
    "watch nodes",
  ]);
});

test("writes the annotations exactly as Go flannel does, and nothing if they are so already", async (t) => {
  const bed = await makeKubeBed(t);
  bed.annotate({ "public-ipv6": "fd00::1", "backend-v6-data": "null", "node-public-ip": "192.168.0.1" });
  const lease = await bed.acquire();
  assert.deepEqual(annotationsIn(bed.api, "node-1"), {
    "kube-subnet-manager": "true",
    "backend-type": "vxlan",
    "backend-data": `{"VNI":1,"VtepMAC":"${macOf(1)}"}`,
    "public-ip": "192.168.0.1",
    "node-public-ip": "192.168.0.1",
  });
  assert.deepEqual(subnetsOf(lease), ["10.5.1.0/24"]);
  assert.equal(lease.expiresAtMs, undefined);
  assert.equal(bed.requests("patch", "nodes/status"), 1);
  await using again = await bed.open();
  await again.acquire({ network: NETWORK, attributes: attributesOf(1), previous: undefined });
  await bed.store.renew(lease, lease.attributes);
  assert.equal(bed.requests("patch", "nodes/status"), 1);
  const moved = await bed.store.renew(lease, attributesOf(9));
  assert.equal(annotationsIn(bed.api, "node-1")["public-ip"], "192.168.0.9");
  assert.deepEqual(moved.attributes, attributesOf(9));
});

test("writes no data as null, and both families side by side", async (t) => {
  const bed = await makeKubeBed(t, { podCIDRs: ["fc00:0:0:1::/64", "10.5.1.0/24"] });
  const lease = await bed.store.acquire({
    network: DUAL_NETWORK,
    attributes: {
      publicIp: parseIp("192.168.0.1"),
      publicIpv6: parseIp("fd00::1"),
      backendType: "host-gw",
      backendData: undefined,
      backendV6Data: undefined,
    },
    previous: undefined,
  });
  assert.deepEqual(subnetsOf(lease), ["10.5.1.0/24", "fc00:0:0:1::/64"]);
  assert.deepEqual(annotationsIn(bed.api, "node-1"), {
    "kube-subnet-manager": "true",
    "backend-type": "host-gw",
    "backend-data": "null",
    "public-ip": "192.168.0.1",
    "backend-v6-data": "null",
    "public-ipv6": "fd00::1",
  });
});

test("another prefix, another flannel: both use one node", async (t) => {
  const bed = await makeKubeBed(t, { options: { annotationPrefix: "example.com/blue" } });
  bed.annotate({ "public-ip": "192.168.0.77" });
  await bed.acquire();
  const annotations = bed.api.nodes.get("node-1")!.metadata.annotations!;
  assert.equal(annotations["example.com/blue-public-ip"], "192.168.0.1");
  assert.equal(annotations["flannel.alpha.coreos.com/public-ip"], "192.168.0.77");
});

test("reads what operators and earlier runs have written of this host", async (t) => {
  const bed = await makeKubeBed(t);
  bed.annotate({
    "node-public-ip": "203.0.113.1",
    "public-ip-overwrite": "203.0.113.7",
    "public-ipv6-overwrite": "2001:db8::7",
    "public-ip": "192.168.0.1",
    "backend-type": "vxlan",
    "backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:aa"}',
  });
  const host = await bed.store.readHost();
  assert.equal(formatIp(host.publicIp!), "203.0.113.1");
  assert.equal(host.publicIpv6, undefined);
  assert.equal(formatIp(host.publishedIp!), "203.0.113.7");
  assert.equal(formatIp(host.publishedIpv6!), "2001:db8::7");
  assert.deepEqual(host.attributes?.backendData, { VNI: 1, VtepMAC: "02:00:00:00:00:aa" });
  bed.annotate({ "public-ip-overwrite": "no address", "backend-data": "{" });
  await assert.rejects(bed.store.readHost(), (error) => {
    assert.match(
      String(error),
      /flannel\.alpha\.coreos\.com\/public-ip-overwrite of node node-1 is not an IPv4 address: "no address"/,
    );
    return hasCode(error, "INVALID");
  });
  bed.annotate({ "public-ip-overwrite": null });
  assert.equal((await bed.store.readHost()).attributes, undefined);
});

test("W13 a change in only one family is reported, in either", async (t) => {
  const bed = await makeKubeBed(t);
  addPeer(bed.api, 2, ["10.5.2.0/24", "fc00:0:0:2::/64"]);
  bed.annotate(
    { "public-ipv6": "fd00::2", "backend-v6-data": '{"VNI":1,"VtepMAC":"02:00:00:00:06:02"}' },
    "node-2",
  );
  await using watch = follow(bed.store);
  const seen = () => watch.table.get("node-2")?.attributes;
  await until(() => seen()?.publicIpv6 !== undefined, "the peer");
  bed.annotate({ "backend-v6-data": '{"VNI":1,"VtepMAC":"02:00:00:00:06:ff"}' }, "node-2");
  await until(() => JSON.stringify(seen()?.backendV6Data).includes(":ff"), "the change of IPv6 alone");
  bed.annotate({ "public-ip": "192.168.0.22" }, "node-2");
  await until(() => formatIp(seen()!.publicIp!) === "192.168.0.22", "the change of IPv4 alone");
  assert.match(JSON.stringify(seen()?.backendV6Data), /:ff/);
  assert.equal(watch.updates.length, 3);
});

test("W14 a peer's new podCIDR is reported, and a node that flannel no longer manages", async (t) => {
  const bed = await makeKubeBed(t);
  addPeer(bed.api, 2);
  await using watch = follow(bed.store);
  await until(() => watch.table.size === 1, "the peer");
  bed.api.nodes.patch("node-2", { spec: { podCIDR: "10.5.22.0/24", podCIDRs: ["10.5.22.0/24"] } });
  await until(() => subnetsOf(watch.table.get("node-2"))[0] === "10.5.22.0/24", "the new podCIDR");
  bed.annotate({ "kube-subnet-manager": null }, "node-2");
  await until(() => watch.table.size === 0, "the peer to go");
  bed.annotate({ "kube-subnet-manager": "true" }, "node-2");
  await until(() => watch.table.size === 1, "the peer again");
  bed.annotate({ "kube-subnet-manager": "false" }, "node-2");
  await until(() => watch.table.size === 0, "the peer to go again");
  assert.deepEqual(
    watch.updates.map(({ type }) => type),
    ["snapshot", "put", "delete", "put", "delete"],
  );
});

test("W14 the own podCIDR changed, or the own node deleted: reported, the old lease is lost, a new one can be acquired", async (t) => {
  const bed = await makeKubeBed(t);
  const lease = await bed.acquire();
  await using watch = follow(bed.store);
  await until(() => watch.table.size === 1, "the own lease");
  bed.assign("10.5.11.0/24");
  await until(() => subnetsOf(watch.table.get("node-1"))[0] === "10.5.11.0/24", "the own new podCIDR");
  await assert.rejects(bed.store.renew(lease, lease.attributes), (error) => {
    assert.match(String(error), /podCIDRs of node node-1 are others now: 10\.5\.11\.0\/24/);
    return hasCode(error, "LEASE_LOST");
  });
  const second = await bed.acquire();
  assert.deepEqual(subnetsOf(second), ["10.5.11.0/24"]);
  bed.api.nodes.delete("node-1");
  await until(() => watch.table.size === 0, "the own node to go");
  await assert.rejects(bed.store.renew(second, second.attributes), (error) => hasCode(error, "LEASE_LOST"));
  const third = bed.acquire();
  await until(() => /node node-1 does not exist/.test(bed.log.text), "the complaint");
  bed.api.nodes.create(makeNode("node-1", { podCIDRs: ["10.5.12.0/24"] }));
  assert.deepEqual(subnetsOf(await third), ["10.5.12.0/24"]);
  assert.equal(annotationsIn(bed.api, "node-1")["kube-subnet-manager"], "true");
});

test("W16 nodes without annotations or with invalid ones are no peers, and reported once", async (t) => {
  const bed = await makeKubeBed(t);
  const { metadata, ...rest } = makeNode("bare", { podCIDRs: ["10.5.40.0/24"] });
  bed.api.nodes.create({ ...rest, metadata: { name: metadata.name } });
  addPeer(bed.api, 2);
  addPeer(bed.api, 3, []);
  addPeer(bed.api, 4, ["10.5.4.0/24", "10.5.44.0/24", "10.5.45.0/24"]);
  addPeer(bed.api, 5, ["10.5.5/24"]);
  addPeer(bed.api, 6);
  bed.annotate({ "public-ip": "fd00::6" }, "node-6");
  addPeer(bed.api, 7);
  bed.annotate({ "public-ip": null }, "node-7");
  addPeer(bed.api, 8);
  bed.annotate({ "backend-data": '{"VNI":' }, "node-8");
  addPeer(bed.api, 9);
  bed.annotate({ "backend-data": "[".repeat(100_000) }, "node-9");
  addPeer(bed.api, 10, ["10.5.10.0/24", "10.5.110.0/24"]);
  await using watch = follow(bed.store);
  await until(() => watch.updates.length > 0, "the snapshot");
  assert.deepEqual([...watch.table.peers(undefined)].map(({ key }) => key).sort(), ["node-10", "node-2"]);
  assert.deepEqual(subnetsOf(watch.table.get("node-10")), ["10.5.10.0/24"]);
  const skipped = bed.log.lines.filter((line) => line.startsWith("W Skipped")).sort();
  assert.deepEqual(skipped, [
    'W Skipped "node-4" in Kubernetes: it has 3 podCIDRs: at most one of each family can be used',
    'W Skipped "node-5" in Kubernetes: its podCIDR "10.5.5/24" is not a subnet like 10.244.1.0/24',
    'W Skipped "node-6" in Kubernetes: annotation public-ip is not an IPv4 address: "fd00::6"',
    'W Skipped "node-7" in Kubernetes: it has neither annotation public-ip nor public-ipv6',
    'W Skipped "node-8" in Kubernetes: annotation backend-data is not JSON',
    'W Skipped "node-9" in Kubernetes: annotation backend-data is longer than 65536 characters',
  ]);
  bed.api.nodes.patch("node-6", { metadata: { labels: { some: "label" } } });
  bed.annotate({ "public-ip": "192.168.0.6" }, "node-6");
  await until(() => watch.table.get("node-6") !== undefined, "the corrected node");
  assert.equal(bed.log.lines.filter((line) => line.startsWith("W Skipped")).length, skipped.length);
});

test("W16 a wrong setting on hundreds of nodes is a few lines, not hundreds", async (t) => {
  const bed = await makeKubeBed(t);
  for (let host = 2; host < 250; host++) {
    addPeer(bed.api, host);
    bed.annotate({ "public-ip": "here" }, `node-${host}`);
  }
  await using watch = follow(bed.store);
  await until(() => watch.updates.length > 0, "the snapshot");
  assert.equal(bed.log.lines.length, 11, bed.log.text);
  assert.match(bed.log.text, /238 more nodes cannot be used as they are/);
});

test("heartbeats are no news", async (t) => {
  const bed = await makeKubeBed(t);
  addPeer(bed.api, 2);
  await bed.acquire();
  await using watch = follow(bed.store);
  await until(() => watch.table.size === 2, "both leases");
  for (let beat = 0; beat < 500; beat++) {
    bed.api.nodes.patch(`node-${1 + (beat % 2)}`, { metadata: { labels: { beat: String(beat) } } });
  }
  await until(() => bed.store.counters.nodeEvents >= 500, "500 events");
  assert.equal(watch.updates.length, 1);
  assert.equal(bed.store.counters.leaseChanges, 0);
  assert.equal(bed.requests("patch", "nodes/status"), 1);
});

test("F2 a lease is as old as its node", async (t) => {
  const bed = await makeKubeBed(t);
  const node = makeNode("older", { podCIDRs: ["10.5.9.0/24"] });
  const creationTimestamp = "2020-01-01T00:00:00Z";
  bed.api.nodes.create({ ...node, metadata: { ...node.metadata, creationTimestamp } });
  bed.annotate({ "kube-subnet-manager": "true", "public-ip": "192.168.0.9" }, "older");
  await bed.acquire();
  await using watch = follow(bed.store);
  await until(() => watch.table.size === 2, "both leases");
  assert.equal(watch.table.get("older")!.establishedAt, BigInt(Date.parse(creationTimestamp)));
  assert.ok(watch.table.get("node-1")!.establishedAt! > watch.table.get("older")!.establishedAt!);
});
