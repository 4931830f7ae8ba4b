/**
 * flanneld in a Kubernetes cluster: subnets from the nodes' podCIDRs, peers from their annotations.
 *
 *     pod ── cni0 ── node-1 ══ VXLAN ══ node-2 ── cni0 ── pod        API server on the nodes' loopback
 *                       ╚═════ VXLAN ══ node-3 ── cni0 ── pod        (test/support/kube.ts)
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { makeNode, makePod } from "../../src/kube-server/objects/node-object.ts";
import { answers } from "../netns/agents.ts";
import { addPod, hasRoute, makeKubeBed } from "../support/kube.ts";
import { until } from "../support/until.ts";

test("three nodes: pods reach each other; annotations and condition are as Go flannel writes them", async (t) => {
  const bed = await makeKubeBed(t, 3);
  const { api, hosts } = bed;
  const daemons = await Promise.all(hosts.map((host) => bed.ready(host)));
  for (const [index, host] of hosts.entries()) {
    const [{ address: mac }] = host.json("ip", "-json", "link", "show", "flannel.1");
    assert.deepEqual(bed.annotations(host), {
      "backend-data": `{"VNI":1,"VtepMAC":"${mac}"}`,
      "backend-type": "vxlan",
      "kube-subnet-manager": "true",
      "public-ip": host.address,
    });
    assert.equal(
      readFileSync(host.subnetFile, "utf8"),
      `FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.${index + 1}.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n`,
    );
    await until(() => bed.condition(host)?.status === "False", "the condition");
    const { lastHeartbeatTime, lastTransitionTime, ...condition } = bed.condition(host) as Record<
      string,
      string
    >;
    assert.deepEqual(condition, {
      type: "NetworkUnavailable",
      status: "False",
      reason: "FlannelIsUp",
      message: "Flannel is running on this node",
    });
    assert.match(`${lastHeartbeatTime} ${lastTransitionTime}`, /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ?){2}$/);
    assert.match(
      daemons[index]!.log(),
      new RegExp(`Acquired lease 10\\.244\\.${index + 1}\\.0/24; does not expire`),
    );
  }
  const pods = hosts.map((host) => addPod(t, host));
  for (const from of pods) {
    for (const to of pods.filter((pod) => pod !== from)) {
      await until(() => answers(from, to.ipv4), `${from.ipv4} to ${to.ipv4}`);
      assert.ok(await answers(from, to.ipv4, 1450 - 28), "a packet of full size");
    }
  }
  for (const [index, host] of hosts.entries()) {
    const others = [1, 2, 3].filter((number) => number !== index + 1);
    assert.ok(others.every((number) => hasRoute(host, `10.244.${number}.0/24`, "dev", "flannel.1")));
  }
  assert.ok(
    api.requests.every(({ user }) => user === "system:serviceaccount:kube-flannel:flannel"),
    "no request without a token",
  );
  assert.deepEqual(
    api.requests.filter(({ status }) => status !== 200),
    [],
    "no request that the ClusterRole does not allow",
  );
});

test("the pod's name does where there is no NODE_NAME; a node that is not there is named", async (t) => {
  const bed = await makeKubeBed(t, 1);
  const [host] = bed.hosts;
  bed.api.pods.create(makePod("kube-flannel-ds-x", { namespace: "kube-flannel", nodeName: "node-1" }));
  const pod = { POD_NAME: "kube-flannel-ds-x", POD_NAMESPACE: "kube-flannel" };
  const flanneld = await bed.ready(host!, { env: pod });
  await flanneld.stop();

  const unknown = bed.start(host!, { env: {} });
  assert.equal((await unknown.exit).code, 1);
  assert.match(unknown.lines.at(-1)!, /^F.*set NODE_NAME .*or POD_NAME and POD_NAMESPACE/);

  const stranger = bed.start(host!, { env: { NODE_NAME: "node-9" } });
  await stranger.logged(
    /Failed to read the record of this host from the datastore.*node node-9 does not exist/,
  );
  bed.api.nodes.create(makeNode("node-9", { podCIDRs: ["10.244.9.0/24"] }));
  await stranger.logged(/flanneld is ready: 10\.244\.9\.0\/24/);
});

test("nodes come and go: peers follow at once", async (t) => {
  const bed = await makeKubeBed(t, 2);
  const [first, second] = bed.hosts;
  const flanneld = await bed.ready(first!);
  assert.ok(!hasRoute(first!, "10.244.2.0/24"), "no route to a node where flannel does not run");
  await bed.ready(second!);
  await flanneld.logged(/Peer joined: node-2, 10\.244\.2\.0\/24 at 192\.168\.7\.2 \(vxlan\)/);
  await until(() => hasRoute(first!, "10.244.2.0/24"), "the route");
  bed.api.nodes.delete(second!.nodeName);
  await flanneld.logged(/Peer left: node-2, 10\.244\.2\.0\/24/);
  await until(() => !hasRoute(first!, "10.244.2.0/24"), "no route");
  assert.doesNotMatch(first!.run("bridge", "fdb", "show", "dev", "flannel.1"), /192\.168\.7\.2/);
});

test("dual stack: both families, in annotations, subnet.env and packets", async (t) => {
  const bed = await makeKubeBed(t, 2, {
    ipv6: true,
    config: {
      ...{ Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd10:244::/48" },
      Backend: { Type: "vxlan" },
    },
    podCIDRs: (n) => [`10.244.${n}.0/24`, `fd10:244:0:${n}::/64`],
  });
  const [first, second] = bed.hosts;
  await Promise.all(bed.hosts.map((host) => bed.ready(host)));
  const [v4, v6] = ["flannel.1", "flannel-v6.1"].map(
    (device) => first!.json("ip", "-json", "link", "show", device)[0].address,
  );
  assert.deepEqual(bed.annotations(first!), {
    "backend-data": `{"VNI":1,"VtepMAC":"${v4}"}`,
    "backend-v6-data": `{"VNI":1,"VtepMAC":"${v6}"}`,
    "backend-type": "vxlan",
    "kube-subnet-manager": "true",
    "public-ip": "192.168.7.1",
    "public-ipv6": "fd00:7::1",
  });
  const [from, to] = [addPod(t, first!), addPod(t, second!)];
  await until(() => answers(from, to.ipv4), "IPv4");
  await until(() => answers(from, to.ipv6), "IPv6");
});

interface Variant {
  readonly title: string;
  readonly config: object;
  readonly podCIDRs?: (n: number) => readonly string[];
  /** Of the first node. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly family: "ipv4" | "ipv6";
}

const VARIANTS: readonly Variant[] = [
  {
    title: "host-gw",
    config: { Network: "10.244.0.0/16", Backend: { Type: "host-gw" } },
    annotations: { "backend-data": "null", "backend-type": "host-gw", "public-ip": "192.168.7.1" },
    family: "ipv4",
  },
  {
    title: "udp, which names no type",
    config: { Network: "10.244.0.0/16", Backend: { Type: "udp" } },
    annotations: { "backend-data": "null", "backend-type": "", "public-ip": "192.168.7.1" },
    family: "ipv4",
  },
  {
    title: "IPv6 only",
    config: {
      ...{ EnableIPv4: false, EnableIPv6: true, IPv6Network: "fd10:244::/48" },
      Backend: { Type: "host-gw" },
    },
    podCIDRs: (n) => [`fd10:244:0:${n}::/64`],
    annotations: { "backend-v6-data": "null", "backend-type": "host-gw", "public-ipv6": "fd00:7::1" },
    family: "ipv6",
  },
];

for (const { title, annotations, family, ...options } of VARIANTS) {
  test(`${title}: annotations as Go flannel's, and packets`, async (t) => {
    const bed = await makeKubeBed(t, 2, { ipv6: family === "ipv6", ...options });
    const [first, second] = bed.hosts;
    await Promise.all(bed.hosts.map((host) => bed.ready(host)));
    assert.deepEqual(bed.annotations(first!), { "kube-subnet-manager": "true", ...annotations });
    const [from, to] = [addPod(t, first!), addPod(t, second!)];
    await until(() => answers(from, to[family]), "the pod on the other node");
  });
}
