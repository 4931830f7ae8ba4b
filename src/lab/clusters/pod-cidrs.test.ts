import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { KubeApiServer } from "../../kube-server/kube-api-server.ts";
import { makeNode } from "../../kube-server/objects/node-object.ts";
import { assignPodCidrs } from "./pod-cidrs.ts";

const network = (text: string, subnetLength: number) => ({ network: parsePrefix(text)!, subnetLength });
const BOTH = [network("10.5.0.0/22", 24), network("fd00:5::/48", 64)];

test("each node gets the first subnets that are free, of each network, and keeps them", async () => {
  await using server = await KubeApiServer.start();
  const { nodes } = server;
  const cidrs = () =>
    Object.fromEntries(nodes.list().map(({ metadata, spec }) => [metadata.name, spec?.podCIDRs]));
  for (const name of ["h1", "h2", "h3"]) nodes.create(makeNode(name));
  assignPodCidrs(nodes, BOTH);
  assert.deepEqual(cidrs(), {
    h1: ["10.5.0.0/24", "fd00:5::/64"],
    h2: ["10.5.1.0/24", "fd00:5:0:1::/64"],
    h3: ["10.5.2.0/24", "fd00:5:0:2::/64"],
  });
  assert.equal(nodes.get("h2")!.spec!.podCIDR, "10.5.1.0/24");
  const before = nodes.resourceVersion;
  assignPodCidrs(nodes, BOTH);
  assert.equal(nodes.resourceVersion, before, "nothing is changed without need");

  nodes.delete("h2");
  for (const name of ["h4", "h5", "h6"]) nodes.create(makeNode(name));
  assignPodCidrs(nodes, BOTH);
  assert.deepEqual(cidrs().h4, ["10.5.1.0/24", "fd00:5:0:1::/64"]);
  assert.deepEqual(cidrs().h5, ["10.5.3.0/24", "fd00:5:0:3::/64"]);
  assert.equal(cidrs().h6, undefined, "four subnets are all that there are");
});
