/**
 * flannelctl on a Kubernetes cluster: leases and config from anywhere, and plan on a node, which announces what flanneld
 * then does. The API server is the tests', over TLS, with flanneld's token and rights.
 */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { hasRoute, type KubeBed, type KubeHost, makeKubeBed } from "../support/kube.ts";
import { annotated } from "../support/kube-store.ts";
import { TestProcess } from "../support/process.ts";
import { FLANNELCTL } from "../support/programs.ts";
import { until } from "../support/until.ts";

const CHANGES = 3;

const flagsOf = (bed: KubeBed, host: KubeHost): string[] => [
  "--kube-subnet-mgr",
  `--kubeconfig-file=${bed.kubeconfig(host)}`,
  `--net-config-path=${bed.configFile}`,
];

const run = (bed: KubeBed, host: KubeHost, words: string[], env?: Record<string, string>) =>
  flannelctl(host, [...words, ...flagsOf(bed, host)], env);

/** A bed of one host, and beside its node two that no flanneld runs on. */
async function makeBed(t: TestContext) {
  const bed = await makeKubeBed(t, 1);
  const annotations = annotated({
    "kube-subnet-manager": "true",
    "public-ip": "192.168.7.2",
    "backend-type": "vxlan",
    "backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
  }).metadata.annotations as Record<string, string>;
  bed.api.nodes.create(makeNode("go-node", { podCIDRs: ["10.244.2.0/24"], annotations }));
  bed.api.nodes.create(makeNode("new-node"));
  return { bed, host: bed.hosts[0]! };
}

test("leases and config: a table, JSON, changes as they occur; changes that belong to Kubernetes are refused", async (t) => {
  const { bed, host } = await makeBed(t);
  const table = await run(bed, host, ["leases"]);
  assert.deepEqual(
    table.out
      .trim()
      .split("\n")
      .map((line) => line.split(/ {2,}/)),
    [
      ["NODE", "SUBNET", "PUBLIC IP", "BACKEND", "EXPIRES IN", "NODE DATA"],
      [
        ...["node-1", "10.244.1.0/24", "-", "-", "never"],
        "no lease: flanneld has not run there (no annotation flannel.alpha.coreos.com/kube-subnet-manager)",
      ],
      [
        ...["go-node", "10.244.2.0/24", "192.168.7.2", "vxlan", "never"],
        '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
      ],
      ["new-node", "-", "-", "-", "never", "no lease: it has no podCIDR"],
    ],
    table.err,
  );
  const [lease] = JSON.parse((await run(bed, host, ["leases", "--json"])).out).filter(
    ({ key }: { key: string }) => key === "go-node",
  );
  assert.deepEqual(
    { ...lease, revision: 0 },
    {
      ...{ key: "go-node", subnet: "10.244.2.0/24", ipv6Subnet: null },
      ...{ publicIP: "192.168.7.2", publicIPv6: null },
      ...{ backendType: "vxlan", backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:02" }, backendV6Data: null },
      ...{ reservation: false, expiresAt: null, revision: 0, problem: null },
    },
  );

  const words = ["leases", "--watch", ...flagsOf(bed, host)];
  await using watch = new TestProcess(FLANNELCTL, words, { netns: host.path });
  await watch.brings("the listing", () => /new-node/.test(watch.stdout), 20_000);
  await until(() => bed.api.watchCount > 0, "the watch");
  bed.api.nodes.patch("go-node", annotated({ "public-ip": "192.168.7.9" }));
  bed.api.nodes.delete("new-node");
  await watch.brings("the removal", () => /removed/.test(watch.stdout), 20_000);
  assert.match(watch.stdout, /^\d\d:\d\d:\d\d {2}changed {2}go-node +10\.244\.2\.0\/24 +192\.168\.7\.9 /m);
  assert.match(watch.stdout, /^\d\d:\d\d:\d\d {2}removed {2}new-node +- /m);
  watch.signal("SIGINT");
  assert.equal(await watch.ended, 0);

  assert.match((await run(bed, host, ["config", "get"])).out, /^\{"Network":"10\.244\.0\.0\/16"/);
  for (const [command, instead] of [
    [
      ["leases", "release", "10.244.1.0/24"],
      /free again once the node is deleted \(kubectl delete node NAME\)/,
    ],
    [["leases", "reserve", "10.244.1.0/24", "192.168.7.1"], /a node keeps its podCIDR as long as it exists/],
    [["config", "set", "/nonexistent"], /kubectl -n kube-flannel edit configmap kube-flannel-cfg/],
  ] as const) {
    const { code, err } = await run(bed, host, [...command]);
    assert.equal(code, 1);
    assert.match(err, /^flannelctl: not with Kubernetes: .*\n$/);
    assert.match(err, instead);
  }
});

test("invalid options: one line each", async (t) => {
  const { bed, host } = await makeBed(t);
  for (const [args, message] of [
    [["--kubeconfig-file=/k"], /^flannelctl: --kubeconfig-file: has no effect without --kube-subnet-mgr/],
    [["--kube-subnet-mgr"], /^flannelctl: not in a pod .*; set --kubeconfig-file or --kube-api-url\n$/],
    [["--kube-subnet-mgr", "--kube-api-url=http://127.0.0.1:1"], /^flannelctl: API server .*refused/],
  ] as const) {
    const { code, err } = await flannelctl(host, ["leases", ...args]);
    assert.equal(code, 1);
    assert.match(err, message);
  }
  bed.api.setTokens([]);
  const { code, err } = await run(bed, host, ["leases", "--watch"]);
  assert.equal(code, 1, "what cannot work fails at once");
  assert.match(err, /^flannelctl: API server \S+ rejects flanneld/);
});

test("plan: the node's podCIDR, the changes of flanneld, and no change", async (t) => {
  const { bed, host } = await makeBed(t);
  bed.annotate(host, { "public-ip-overwrite": "203.0.113.7" });
  const before = JSON.stringify(bed.node(host));
  const args = ["plan", "--ip-masq", `--subnet-file=${host.subnetFile}`];
  const plan = (env: Record<string, string> = { NODE_NAME: host.nodeName }) => run(bed, host, args, env);
  const fresh = await plan();
  assert.equal(fresh.code, CHANGES, fresh.err);
  assert.match(fresh.out, /^interface eth0: 192\.168\.7\.1, MTU 1500, published as 203\.0\.113\.7$/m);
  assert.match(fresh.out, /^lease +10\.244\.1\.0\/24, the podCIDR of node node-1$/m);
  assert.match(fresh.out, /^create +device flannel\.1 .* address \(random\)$/m);
  assert.match(fresh.out, /^create +route 10\.244\.2\.0\/24 via 10\.244\.2\.0 dev flannel\.1 onlink$/m);
  assert.equal(JSON.stringify(bed.node(host)), before);
  assert.ok(bed.api.requests.every(({ verb }) => verb !== "patch"));

  const flanneld = await bed.ready(host, { args: ["--ip-masq"] });
  await until(() => hasRoute(host, "10.244.2.0/24"), "the peer's route");
  const settled = await plan();
  assert.equal(settled.code, 0, settled.out + settled.err);
  const [{ address: mac }] = host.json("ip", "-json", "link", "show", "flannel.1");
  await flanneld.stop();
  host.run("ip", "link", "del", "flannel.1");
  assert.match((await plan()).out, new RegExp(`^create +device flannel\\.1 .* address ${mac}$`, "m"));

  const unknown = await plan({});
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /^flannelctl: the node of this host is unknown: set NODE_NAME/);
  const waiting = await plan({ NODE_NAME: "new-node" });
  assert.equal(waiting.code, 1);
  assert.match(waiting.err, /^flannelctl: node new-node has no podCIDR yet: is kube-controller-manager/);
});
