/**
 * What may change in a Kubernetes cluster while flanneld runs, and what may be wrong in it: nodes, podCIDRs, annotations,
 * the ConfigMap. Told by the log, by what the kernel holds, and by packets.
 */

import assert from "node:assert/strict";
import { readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import { answers } from "../netns/agents.ts";
import type { Flanneld } from "../support/flanneld.ts";
import { addPod, hasRoute, type KubeBed, type KubeHost, makeKubeBed, NETWORK } from "../support/kube.ts";
import { until } from "../support/until.ts";

const DUAL_NETWORK = { ...NETWORK, EnableIPv6: true, IPv6Network: "fd10:244::/48" };
const peer = (number: number, changes: Record<string, string> = {}) => ({
  "flannel.alpha.coreos.com/kube-subnet-manager": "true",
  "flannel.alpha.coreos.com/backend-type": "vxlan",
  "flannel.alpha.coreos.com/backend-data": `{"VNI":1,"VtepMAC":"0a:00:00:00:01:0${number}"}`,
  "flannel.alpha.coreos.com/public-ip": `192.168.7.10${number}`,
  ...changes,
});

/** Adds a node without a running flanneld, with the annotations of another flannel. */
const addNode = (bed: KubeBed, number: number, changes: Record<string, string> = {}) =>
  bed.api.nodes.create(
    makeNode(`peer-${number}`, {
      podCIDRs: [`10.244.10${number}.0/24`],
      annotations: peer(number, changes),
    }),
  );

const setPodCidrs = (bed: KubeBed, name: string, ...podCIDRs: string[]) =>
  bed.api.nodes.patch(name, { spec: { podCIDR: podCIDRs[0]!, podCIDRs } });

async function readyBed(
  t: TestContext,
  ...args: Parameters<typeof makeKubeBed> extends [unknown, unknown, ...infer Rest] ? Rest : never
): Promise<{ readonly bed: KubeBed; readonly host: KubeHost; readonly flanneld: Flanneld }> {
  const bed = await makeKubeBed(t, 1, ...args);
  const host = bed.hosts[0]!;
  return { bed, host, flanneld: await bed.ready(host) };
}

test("W13 dual stack: a change in one family only reaches the kernel", async (t) => {
  const { bed, host } = await readyBed(t, {
    ...{ ipv6: true, config: DUAL_NETWORK },
    podCIDRs: (n) => [`10.244.${n}.0/24`, `fd10:244:0:${n}::/64`],
  });
  const data = (mac: string) => `{"VNI":1,"VtepMAC":"${mac}"}`;
  const named = (annotations: Record<string, string>) =>
    Object.fromEntries(
      Object.entries(annotations).map(([name, value]) => [`flannel.alpha.coreos.com/${name}`, value]),
    );
  const v6 = named({ "public-ipv6": "fd00:7::101", "backend-v6-data": data("0a:00:00:00:06:01") });
  bed.api.nodes.create(
    makeNode("peer-1", {
      podCIDRs: ["10.244.101.0/24", "fd10:244:0:101::/64"],
      annotations: { ...peer(1), ...v6 },
    }),
  );
  const fdb = (device: string) => host.run("bridge", "fdb", "show", "dev", device);
  await until(() => fdb("flannel-v6.1").includes("0a:00:00:00:06:01 dst fd00:7::101"), "the IPv6 entry");
  const annotate = (annotations: Record<string, string>) =>
    bed.api.nodes.patch("peer-1", { metadata: { annotations: named(annotations) } });

  annotate({ "backend-v6-data": data("0a:00:00:00:06:02") });
  await until(() => fdb("flannel-v6.1").includes("0a:00:00:00:06:02 dst fd00:7::101"), "the IPv6 MAC");
  assert.match(fdb("flannel.1"), /0a:00:00:00:01:01 dst 192\.168\.7\.101/);
  annotate({ "public-ip": "192.168.7.111" });
  await until(() => fdb("flannel.1").includes("0a:00:00:00:01:01 dst 192.168.7.111"), "the IPv4 address");
  setPodCidrs(bed, "peer-1", "10.244.101.0/24", "fd10:244:0:202::/64");
  const routes = () => host.run("ip", "-6", "route", "show", "dev", "flannel-v6.1", "proto", "70");
  await until(() => routes().includes("fd10:244:0:202::/64"), "the route to the new IPv6 podCIDR");
  assert.doesNotMatch(routes(), /fd10:244:0:101/);
  assert.ok(hasRoute(host, "10.244.101.0/24"));
});

test("W14 a peer's podCIDR changes, or flannel manages it no more: its entries follow", async (t) => {
  const { bed, host, flanneld } = await readyBed(t);
  addNode(bed, 1);
  addNode(bed, 2);
  await until(() => hasRoute(host, "10.244.101.0/24") && hasRoute(host, "10.244.102.0/24"), "the routes");
  setPodCidrs(bed, "peer-1", "10.244.201.0/24");
  await until(() => hasRoute(host, "10.244.201.0/24"), "the route to the new podCIDR");
  await until(() => !hasRoute(host, "10.244.101.0/24"), "no route to the old one");
  bed.api.nodes.patch("peer-2", {
    metadata: { annotations: { "flannel.alpha.coreos.com/kube-subnet-manager": null } },
  });
  await flanneld.logged(/Peer left: peer-2, 10\.244\.102\.0\/24/);
  await until(() => !hasRoute(host, "10.244.102.0/24"), "no route to what is not managed");
});

test("W14 the own podCIDR changes, the node is made anew: host, file and firewall follow, packets flow", async (t) => {
  const bed = await makeKubeBed(t, 2);
  const [first, second] = bed.hosts as [KubeHost, KubeHost];
  const flanneld = await bed.ready(first, { args: ["--ip-masq"] });
  await bed.ready(second);
  setPodCidrs(bed, first.nodeName, "10.244.50.0/24");
  await flanneld.logged(
    /Lost lease 10\.244\.1\.0\/24; acquiring one again: this host's subnets are now 10\.244\.50\.0\/24/,
  );
  const env = () => readFileSync(first.subnetFile, "utf8");
  await until(() => env().includes("FLANNEL_SUBNET=10.244.50.1/24"), "subnet.env");
  const rules = () => first.run("sh", "-c", "iptables-save -t nat; nft list ruleset 2>/dev/null");
  await until(() => rules().includes("10.244.50.0/24") && !rules().includes("10.244.1.0/24"), "the firewall");
  const [address] = first
    .json("ip", "-json", "address", "show", "dev", "flannel.1")
    .flatMap((link: { addr_info: object[] }) => link.addr_info);
  assert.equal(address.local, "10.244.50.0");
  await until(() => hasRoute(second, "10.244.50.0/24") && !hasRoute(second, "10.244.1.0/24"), "the peer");
  const [from, to] = [addPod(t, first), addPod(t, second)];
  await until(() => answers(from, to.ipv4), "packets from the new subnet");

  const { metadata, spec } = bed.node(first);
  bed.api.nodes.delete(first.nodeName);
  await flanneld.logged(/Waiting for a subnet: node node-1 does not exist/);
  assert.ok(hasRoute(first, "10.244.2.0/24"), "what is programmed stays");
  bed.api.nodes.create(makeNode(metadata.name, { podCIDRs: spec!.podCIDRs! }));
  await until(
    () => bed.annotations(first)["kube-subnet-manager"] === "true",
    "the annotations of the new node",
  );
  await until(() => hasRoute(second, "10.244.50.0/24"), "the peer again");
  await until(() => bed.condition(first)?.status === "False", "the condition of the new node");
  await until(() => answers(from, to.ipv4), "packets after all");
});

test("W15 NetworkUnavailable is patched until it holds, and again when it is undone", async (t) => {
  const bed = await makeKubeBed(t, 1);
  const host = bed.hosts[0]!;
  // Not ready until this file makes room for a directory.
  const inTheWay = join(host.directory, "way");
  writeFileSync(inTheWay, "");
  const flanneld = bed.start(host, { args: [`--subnet-file=${inTheWay}/subnet.env`] });
  await flanneld.logged(/failed to write .*subnet\.env/);
  assert.equal(bed.condition(host)?.status, "True", "not before the network works");
  for (const status of [500, 409, 503])
    bed.api.inject({ verb: "patch", resource: "nodes/status", answer: { status } });
  unlinkSync(inTheWay);
  await until(() => bed.condition(host)?.status === "False", "the condition");
  assert.equal(bed.condition(host)?.reason, "FlannelIsUp");
  const refused = bed.api.requests.filter(({ verb, status }) => verb === "patch" && status !== 200);
  assert.deepEqual(
    refused.map(({ status }) => status),
    [500, 409, 503],
  );
  const conditions = bed
    .node(host)
    .status!.conditions!.map((condition) =>
      condition.type === "NetworkUnavailable" ? { ...condition, status: "True" } : condition,
    );
  bed.api.nodes.patch(host.nodeName, { status: { conditions } });
  await until(() => bed.condition(host)?.status === "False", "the condition again");
});

test("--set-node-network-unavailable=false leaves the condition alone", async (t) => {
  const bed = await makeKubeBed(t, 1);
  const [host] = bed.hosts;
  const flanneld = await bed.ready(host!, { args: ["--set-node-network-unavailable=false"] });
  addNode(bed, 1); // news that come after whatever it would have said
  await flanneld.logged(/Peer joined: peer-1/);
  assert.equal(bed.condition(host!)?.status, "True");
});

test("W16 nodes without annotations, with bad ones, or with one subnet or address too many: named, and no others harmed", async (t) => {
  const { bed, host, flanneld } = await readyBed(t);
  const bare = makeNode("bare", { podCIDRs: ["10.244.90.0/24"] });
  bed.api.nodes.create({ ...bare, metadata: { name: "bare" } });
  bed.api.nodes.create({ apiVersion: "v1", kind: "Node", metadata: { name: "empty" } });
  const cases: readonly (readonly [number: number, changes: Record<string, string>, says: RegExp])[] = [
    [1, { "public-ip": "nowhere" }, /Skipped "peer-1" in Kubernetes: annotation public-ip is not an IPv4/],
    [2, { "backend-data": "{" }, /Skipped "peer-2" in Kubernetes: annotation backend-data is not JSON/],
    [
      3,
      { "backend-data": '{"VtepMAC":"ff"}' },
      /Peer peer-3 cannot be reached: its VtepMAC "ff" is not a MAC/,
    ],
    [4, { "public-ip": "192.168.7.1" }, /Peer peer-4 cannot be reached: .*is this host's own: two hosts/],
    [5, { "backend-data": '{"VNI":2,"VtepMAC":"0a:00:00:00:01:05"}' }, /Peer peer-5 .*its VNI is 2/],
  ];
  for (const [number, changes, says] of cases) {
    const named = Object.entries(changes).map(([name, text]) => [`flannel.alpha.coreos.com/${name}`, text]);
    addNode(bed, number, Object.fromEntries(named));
    await flanneld.logged(says);
  }
  addNode(bed, 6);
  bed.api.nodes.create(
    makeNode("twin", {
      podCIDRs: ["10.244.106.128/25"],
      annotations: peer(7, { "flannel.alpha.coreos.com/public-ip": "192.168.7.106" }),
    }),
  );
  await flanneld.logged(
    /Peer twin cannot be reached: its subnet 10\.244\.106\.128\/25 overlaps 10\.244\.106\.0\/24/,
  );
  addNode(bed, 8, { "flannel.alpha.coreos.com/public-ip": "192.168.7.106" });
  await flanneld.logged(
    /Peer peer-8 may be unreachable: its public IP 192\.168\.7\.106 is also that of peer-6/,
  );
  setPodCidrs(bed, "peer-8", "10.99.8.0/24");
  await flanneld.logged(/Peer peer-8 .*10\.99\.8\.0\/24 is not inside the network 10\.244\.0\.0\/16/);
  const destinations = () => {
    const routes: { dst: string }[] = host.json("ip", "-json", "route", "show", "proto", "70");
    return routes.map(({ dst }) => dst).join(" ");
  };
  await flanneld.until(() => destinations() === "10.244.106.0/24", "the one route that is left");
});

test("W17 net-conf.json: missing or invalid at startup exits; changed, invalid or deleted later, it is applied or reported", async (t) => {
  const bed = await makeKubeBed(t, 1);
  const [host] = bed.hosts;
  unlinkSync(bed.configFile);
  const starts: readonly (readonly [config: string | undefined, says: RegExp])[] = [
    [undefined, /there is no network config at \/.*net-conf\.json \(--net-config-path; .*ConfigMap/],
    ["{", /network config is not valid JSON.*: correct \/.*net-conf\.json/],
    ['{"Network":"10.244.0.0/16","SubnetLen":31}', /SubnetLen/],
    ['{"Network":"10.244.0.0/16","Backend":{"Type":"vxlam"}}', /Backend\.Type "vxlam" is not known/],
    ['{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":-1}}', /Backend\.VNI/],
  ];
  for (const [config, says] of starts) {
    if (config !== undefined) bed.writeConfig(config);
    const flanneld = bed.start(host!);
    assert.equal((await flanneld.exit).code, 1, flanneld.log());
    assert.match(flanneld.lines.at(-1)!, /^F/);
    assert.match(flanneld.lines.at(-1)!, says);
  }
  bed.writeConfig(NETWORK);
  const flanneld = await bed.ready(host!);
  const mtu = () => host!.json("ip", "-json", "link", "show", "flannel.1")[0].mtu;
  bed.writeConfig({ ...NETWORK, Backend: { Type: "vxlan", MTU: 1400 } });
  await until(() => mtu() === 1350, "the MTU");
  bed.writeConfig("{");
  await flanneld.logged(/Keeping the previous network config: network config is not valid JSON/);
  bed.writeConfig({ ...NETWORK, Network: "10.99.0.0/16" });
  await flanneld.logged(/Keeping .*: Network 10\.244\.0\.0\/16 → 10\.99\.0\.0\/16 cannot change/);
  unlinkSync(bed.configFile);
  await flanneld.logged(/Keeping .*it is missing at \/.*net-conf\.json/);
  assert.equal(mtu(), 1350);
  bed.writeConfig(NETWORK);
  await until(() => mtu() === 1450, "the MTU as it was");
});

test("W39 annotations that others strip or change are written again, and peers have them back", async (t) => {
  const bed = await makeKubeBed(t, 2);
  const [first, second] = bed.hosts as [KubeHost, KubeHost];
  const [flanneld, other] = await Promise.all([bed.ready(first), bed.ready(second)]);
  await until(() => hasRoute(second, "10.244.1.0/24"), "the route");
  const before = bed.annotations(first);
  const nothing: Record<string, null> = Object.fromEntries(Object.keys(before).map((name) => [name, null]));
  const attacks: readonly Record<string, string | null>[] = [
    nothing,
    { "public-ip": "192.0.2.99" },
    { "backend-data": "{}", "kube-subnet-manager": "false" },
  ];
  for (const attack of attacks) {
    bed.annotate(first, attack);
    await until(() => isDeepStrictEqual(bed.annotations(first), before), "the annotations");
  }
  await flanneld.logged(/kube-subnet-manager.* of node node-1 .*again/);
  assert.doesNotMatch(flanneld.log(), /Lost lease|Lease conflict/);
  bed.api.nodes.create(makeNode("last", { podCIDRs: ["10.244.99.0/24"], annotations: peer(9) }));
  await other.logged(/Peer joined: last/);
  assert.ok(hasRoute(second, "10.244.1.0/24"));
  const fdb = second.run("bridge", "fdb", "show", "dev", "flannel.1");
  assert.match(fdb, /dst 192\.168\.7\.1 /);
  assert.doesNotMatch(fdb, /192\.0\.2\.99/);
});

test("W40 without a podCIDR it waits, logs why, and continues as soon as there is one", async (t) => {
  const bed = await makeKubeBed(t, 1, { podCIDRs: () => [] });
  const [host] = bed.hosts;
  const flanneld = bed.start(host!, { args: ["--healthz-port=18081"] });
  await flanneld.logged(
    /W.*node node-1 has no podCIDR yet: is kube-controller-manager running with --allocate-node-cidrs/,
  );
  setPodCidrs(bed, host!.nodeName, "10.99.1.0/24");
  await flanneld.logged(
    /podCIDR 10\.99\.1\.0\/24, which is not inside the network 10\.244\.0\.0\/16 of net-conf\.json/,
  );
  setPodCidrs(bed, host!.nodeName, "10.244.1.0/24");
  await flanneld.logged(/flanneld is ready: 10\.244\.1\.0\/24/);
});
