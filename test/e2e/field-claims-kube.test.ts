/** Which node a subnet belongs to in Kubernetes when podCIDRs overlap (test/support/kube.ts). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import { answers } from "../netns/agents.ts";
import { askHealth } from "../support/flanneld.ts";
import { addPod, hasRoute, makeKubeBed } from "../support/kube.ts";
import { until } from "../support/until.ts";

const HEALTH = ["--healthz-ip=127.0.0.1", "--healthz-port=18475"];

test("F2 a new node whose name sorts first and whose podCIDR covers those of living nodes takes nothing", async (t) => {
  const bed = await makeKubeBed(t, 2);
  const [one, two] = bed.hosts;
  const daemons = [await bed.ready(one!, { args: HEALTH }), await bed.ready(two!, { args: HEALTH })];
  const pods = [addPod(t, one!), addPod(t, two!)] as const;
  await until(() => answers(pods[0], pods[1].ipv4), "a ping before");
  // a podCIDR is given by the second, so that this node is newer for every reader
  await until(() => Date.now() > Date.parse(bed.node(two!).metadata.creationTimestamp!) + 1_000, "a second");
  const aaa = makeNode("aaa", { podCIDRs: ["10.244.0.0/22"] });
  bed.api.nodes.create(aaa);
  const annotations = {
    "flannel.alpha.coreos.com/kube-subnet-manager": "true",
    "flannel.alpha.coreos.com/public-ip": "192.168.7.99",
    "flannel.alpha.coreos.com/backend-type": "vxlan",
    "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"0a:00:00:00:00:99"}',
  };
  bed.api.nodes.patch("aaa", { metadata: { annotations } });
  for (const daemon of daemons)
    await daemon.logged(/Peer aaa cannot be reached: .*10\.244\.0\.0\/22.*overlaps/);
  assert.ok(await answers(pods[0], pods[1].ipv4), "nothing was taken over");
  assert.ok(hasRoute(one!, "10.244.2.0/24", "dev", "flannel.1"));
  assert.ok(!hasRoute(one!, "10.244.0.0/22"));
  for (const host of [one!, two!]) {
    const health = await askHealth(host, 18475, "/readyz");
    assert.equal(health?.status, 200);
    assert.match(health!.body, /Peer aaa cannot be reached/);
  }
  // also after a restart, when all nodes are listed at once
  await daemons[0]!.stop();
  const again = await bed.ready(one!, { args: HEALTH });
  await again.logged(/Peer aaa cannot be reached/);
  assert.ok(hasRoute(one!, "10.244.2.0/24", "dev", "flannel.1"));
  await until(() => answers(pods[1], pods[0].ipv4), "a ping after");

  // and the newcomer itself: its peers do not route to it
  const newcomer = bed.start(two!, {
    args: ["--healthz-ip=127.0.0.1", "--healthz-port=18476"],
    env: { NODE_NAME: "aaa" },
  });
  await daemons[1]!.stop();
  await newcomer.logged(/10\.244\.0\.0\/22.*overlaps|overlaps.*10\.244\.0\.0\/22/);
});
