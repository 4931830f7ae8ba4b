/** The Kubernetes store and its own node: the subnet that it waits for, and what it writes and keeps written. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import { hasCode } from "../../src/base/error.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import { follow } from "../support/follow.ts";
import { call, mergePatch } from "../support/kube-client.ts";
import {
  addPeer,
  annotated,
  annotationsIn,
  attributesOf,
  DUAL_NETWORK,
  macOf,
  NETWORK,
  networkUnavailable,
  openKubeStore,
} from "../support/kube-store.ts";
import { makeKubeBed, subnetsOf } from "../support/kube-store-bed.ts";
import { until } from "../support/until.ts";

test("W15 NetworkUnavailable is taken back until it holds, and again when it is undone", async (t) => {
  const bed = await makeKubeBed(t);
  const abort = new AbortController();
  bed.api.inject({ verb: "patch", resource: "nodes/status", times: 3, answer: { status: 500 } });
  const done = bed.store.keepAvailable(abort.signal);
  const holds = () => networkUnavailable(bed.api, "node-1")?.status === "False";
  await until(holds, "the condition");
  const { reason, message } = networkUnavailable(bed.api, "node-1")!;
  assert.deepEqual([reason, message], ["FlannelIsUp", "Flannel is running on this node"]);
  const complaints = bed.log.lines.filter((line) =>
    /Failed to report to Kubernetes that the network of this node works; retrying: /.test(line),
  );
  assert.equal(complaints.length, 1, bed.log.text);
  const conditions = bed.api.nodes.get("node-1")!.status!.conditions!;
  const undone = conditions.map((condition) =>
    condition.type === "NetworkUnavailable"
      ? { ...condition, status: "True", reason: "NoRoute" }
      : { ...condition },
  );
  bed.api.nodes.patch("node-1", { status: { conditions: undone } });
  await until(holds, "the condition again");
  const others = bed.api.nodes
    .get("node-1")!
    .status!.conditions!.filter(({ type }) => type !== "NetworkUnavailable");
  assert.equal(others.length, conditions.length - 1);
  abort.abort();
  await done;
});

test("W15 a condition that is already false is not written, also if another client sets it later", async (t) => {
  const bed = await makeKubeBed(t);
  const keep = async (condition: () => boolean) => {
    const abort = new AbortController();
    const done = bed.store.keepAvailable(abort.signal);
    await until(condition, "the condition to be dealt with");
    abort.abort();
    await done;
  };
  await keep(() => networkUnavailable(bed.api, "node-1")?.reason === "FlannelIsUp");
  const patches = bed.requests("patch", "nodes/status");
  const reads = bed.requests("get");
  await keep(() => bed.requests("get") > reads);
  assert.equal(bed.requests("patch", "nodes/status"), patches);
  await using off = await openKubeStore(bed.api.url, "node-1", { setNodeNetworkUnavailable: false });
  await off.keepAvailable(new AbortController().signal);
});

test("W39 stripped or changed annotations are written again, and this host sees one lease all the time", async (t) => {
  const bed = await makeKubeBed(t);
  await bed.acquire();
  const wanted = annotationsIn(bed.api, "node-1");
  await using watch = follow(bed.store);
  await until(() => watch.table.size === 1, "the own lease");
  bed.annotate({
    "public-ip": null,
    "backend-data": null,
    "kube-subnet-manager": null,
    "backend-type": null,
  });
  await until(() => bed.store.counters.annotationRepairs === 1, "the repair");
  assert.deepEqual(annotationsIn(bed.api, "node-1"), wanted);
  const url = `${bed.api.url}/api/v1/nodes/node-1?fieldManager=some-operator`;
  await call(url, mergePatch(annotated({ "public-ip": "192.0.2.99" })));
  await until(() => bed.store.counters.annotationRepairs === 2, "the second repair");
  assert.deepEqual(annotationsIn(bed.api, "node-1"), wanted);
  assert.equal(watch.updates.length, 1);
  assert.match(
    bed.log.text,
    /W flannel\.alpha\.coreos\.com\/kube-subnet-manager, .*public-ip of node node-1 were changed or removed; writing them again/,
  );
  assert.match(
    bed.log.text,
    /public-ip of node node-1 was changed or removed by some-operator; writing it again/,
  );
});

test("W39 a failing repair is tried again until it succeeds", async (t) => {
  const bed = await makeKubeBed(t);
  await bed.acquire();
  bed.api.inject({ verb: "patch", resource: "nodes/status", times: 3, answer: { status: 503 } });
  bed.annotate({ "backend-data": null });
  await until(() => annotationsIn(bed.api, "node-1")["backend-data"] !== undefined, "the repair");
  const complaints = bed.log.lines.filter((line) =>
    /Failed to write the annotations of node node-1 again; retrying: /.test(line),
  );
  assert.equal(complaints.length, 1, bed.log.text);
});

test("W39 annotations that are removed again and again are restored at growing intervals, and reported as a problem", async (t) => {
  const bed = await makeKubeBed(t, { options: { timings: { contestMaxMs: 400 } } });
  await bed.acquire();
  const isWhole = () => annotationsIn(bed.api, "node-1")["public-ip"] !== undefined;
  const tookMs: number[] = [];
  for (let round = 0; round < 6; round++) {
    const sinceMs = performance.now();
    bed.annotate({ "public-ip": null });
    await until(isWhole, "the repair");
    tookMs.push(performance.now() - sinceMs);
  }
  assert.ok(tookMs[5]! >= 395, tookMs.join(", "));
  const warnings = bed.log.lines.filter((line) => line.startsWith("W"));
  assert.equal(warnings.length, 2, bed.log.text);
  assert.match(warnings[1]!, /repeatedly; .*--show-managed-fields/);
});

test("W40 without a podCIDR it waits on the watch, logs why, and continues as soon as there is one", async (t) => {
  const bed = await makeKubeBed(t, { podCIDRs: [] });
  const reasons: string[] = [];
  const taking = bed.store.acquire({
    network: NETWORK,
    attributes: attributesOf(1),
    previous: undefined,
    onWait: (reason) => reasons.push(reason),
  });
  await until(() => reasons.length === 1, "the reason");
  assert.match(reasons[0]!, /^node node-1 has no podCIDR yet: .*--allocate-node-cidrs=true.*--cluster-cidr/);
  await until(() => bed.requests("watch") === 1, "the watch");
  bed.assign("10.9.1.0/24");
  await until(() => reasons.length === 2, "another reason");
  assert.match(
    reasons[1]!,
    /^node node-1 has podCIDR 10\.9\.1\.0\/24, which is not inside the network 10\.5\.0\.0\/16 of net-conf\.json/,
  );
  assert.deepEqual(annotationsIn(bed.api, "node-1"), {});
  const sinceMs = performance.now();
  bed.assign("10.5.1.0/24");
  assert.deepEqual(subnetsOf(await taking), ["10.5.1.0/24"]);
  assert.ok(performance.now() - sinceMs < 1_000);
  assert.equal(bed.log.lines.filter((line) => /^W Waiting for a subnet: node node-1/.test(line)).length, 2);
});

test("W40 it stops when aborted, and periodically, so that a changed network config is applied", async (t) => {
  const bed = await makeKubeBed(t, {
    podCIDRs: ["10.9.1.0/24"],
    options: { timings: { waitReportMs: 100 } },
  });
  await assert.rejects(
    bed.acquire(),
    (error) => hasCode(error, "UNAVAILABLE") && /not inside the network/.test(String(error)),
  );
  const network = parseNetworkConfig('{"Network":"10.9.0.0/16","Backend":{"Type":"vxlan"}}');
  const lease = await bed.store.acquire({ network, attributes: attributesOf(1), previous: undefined });
  assert.deepEqual(subnetsOf(lease), ["10.9.1.0/24"]);
  bed.assign();
  const slow = await makeKubeBed(t, { podCIDRs: [] });
  const abort = new AbortController();
  const taking = slow.store.acquire({
    network,
    attributes: attributesOf(1),
    previous: undefined,
    signal: abort.signal,
  });
  const ended = assert.rejects(taking, (error) => hasCode(error, "UNAVAILABLE"));
  await until(() => slow.requests("watch") === 1, "the watch");
  abort.abort();
  await ended;
});

test("W40 dual stack needs a podCIDR of each family", async (t) => {
  const bed = await makeKubeBed(t);
  const attributes = { ...attributesOf(1), publicIpv6: parseIp("fd00::1"), backendV6Data: { VNI: 1 } };
  const reasons: string[] = [];
  const taking = bed.store.acquire({
    network: DUAL_NETWORK,
    attributes,
    previous: undefined,
    onWait: (reason) => reasons.push(reason),
  });
  await until(() => reasons.length === 1, "the reason");
  assert.match(
    reasons[0]!,
    /^node node-1 has no IPv6 podCIDR, only 10\.5\.1\.0\/24, but net-conf\.json enables IPv6/,
  );
  bed.assign("10.5.1.0/24", "fc00:0:0:1::/64", "10.5.2.0/24");
  await until(() => reasons.length === 2, "another reason");
  assert.match(reasons[1]!, /^node node-1 cannot be used: it has 3 podCIDRs/);
  bed.assign("10.5.1.0/24", "fc00:0:0:1::/64");
  assert.deepEqual(subnetsOf(await taking), ["10.5.1.0/24", "fc00:0:0:1::/64"]);
});

test("a network of one family takes no notice of a podCIDR of the other", async (t) => {
  const bed = await makeKubeBed(t, { podCIDRs: ["fc00:0:0:1::/64", "10.5.1.0/24"] });
  assert.deepEqual(subnetsOf(await bed.acquire()), ["10.5.1.0/24"]);
  await using watch = follow(bed.store);
  await until(() => watch.table.size === 1, "the own lease");
  assert.deepEqual(subnetsOf(watch.table.get("node-1")), ["10.5.1.0/24"]);
});

test("F1 a node that starts with the MAC of another node takes a fresh one", async (t) => {
  const mac = (address: string) => ({ ...attributesOf(1), backendData: { VNI: 1, VtepMAC: address } });
  const fresh = mac("0e:00:00:00:00:01");
  for (const [what, isKept, given, published, listings] of [
    ["the MAC of another node", true, mac(macOf(7)), fresh, 2],
    ["a MAC just drawn", false, attributesOf(1), attributesOf(1), 1],
    ["a kept MAC that no other node has", true, attributesOf(1), attributesOf(1), 2],
  ] as const) {
    const bed = await makeKubeBed(t);
    addPeer(bed.api, 7);
    const isInUse = async () => assert.fail("the node's name says whose lease it is");
    const request = { network: NETWORK, attributes: given, previous: undefined };
    const identity = { isKept, isInUse, replace: () => fresh };
    assert.deepEqual((await bed.store.acquire({ ...request, identity })).attributes, published, what);
    const data = annotationsIn(bed.api, "node-1")["backend-data"];
    assert.equal(data, JSON.stringify(published.backendData), what);
    await until(() => bed.requests("watch") === 1, "the watch on the own node");
    assert.equal(bed.requests("list"), listings, what);
    const again = { ...request, attributes: published, identity };
    assert.deepEqual((await bed.store.acquire(again)).attributes, published, `${what}, again`);
    assert.equal(bed.requests("list"), listings, `${what}: the node has published it by itself`);
  }
});
