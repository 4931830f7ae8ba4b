/**
 * Pods of one node on its bridge, where packets between them are bridged and pass nftables through br_netfilter only:
 *
 *      a 10.9.0.1 ─── cni0 10.9.0.254 ─── 10.9.0.2 b
 *        fd09::1      (node, our table)      fd09::2
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../src/base/logger.ts";
import { runCommand } from "../../src/linux/exec.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { PolicyCompiler } from "../../src/policy/compile.ts";
import { PolicyFilter } from "../../src/policy/policy-filter.ts";
import type { OraclePolicy } from "../../src/testing/policy-oracle.ts";
import { inputOf } from "../../src/testing/random-policies.ts";
import { digest } from "./policy-bed.ts";
import { freshNetns, type TestNetns } from "./support.ts";

const LAST: Readonly<Record<string, number>> = { a: 1, b: 2 };

function inputWith(...specs: OraclePolicy["spec"][]) {
  return inputOf({
    nodeName: "here",
    namespaces: [{ metadata: { name: "shop", labels: {} } }],
    pods: Object.entries(LAST).map(([name, last]) => ({
      metadata: { namespace: "shop", name, uid: name, labels: { app: name } },
      spec: { nodeName: "here", containers: [{ ports: [] }] },
      status: { phase: "Running", podIPs: [{ ip: `10.9.0.${last}` }, { ip: `fd09::${last}` }] },
    })),
    policies: specs.map((spec, index) => ({ metadata: { namespace: "shop", name: `p${index}` }, spec })),
  });
}

function reaches(from: TestNetns, address: string): boolean {
  try {
    from.run("ping", "-c1", "-W1", "-q", address);
    return true;
  } catch {
    return false;
  }
}

test("kube-router 1701, k3s 9797: policies hold on one bridge, with neighbour discovery, and the node reaches its pods", async (t) => {
  const node = freshNetns(t, "node");
  node.run("ip", "link", "add", "cni0", "type", "bridge");
  node.run("ip", "addr", "add", "10.9.0.254/24", "dev", "cni0");
  node.run("ip", "-6", "addr", "add", "fd09::fe/64", "dev", "cni0", "nodad");
  node.run("ip", "link", "set", "cni0", "up");
  const pods = Object.entries(LAST).map(([name, last]) => {
    const pod = freshNetns(t, name);
    node.run("ip", "link", "add", `v${name}`, "type", "veth", "peer", "name", "eth0", "netns", pod.name);
    node.run("ip", "link", "set", `v${name}`, "master", "cni0", "up");
    pod.run("ip", "addr", "add", `10.9.0.${last}/24`, "dev", "eth0");
    pod.run("ip", "-6", "addr", "add", `fd09::${last}/64`, "dev", "eth0", "nodad");
    pod.run("ip", "link", "set", "eth0", "up");
    return pod;
  });
  const [a, b] = pods as [TestNetns, TestNetns];
  // What the node requires, and what it has by itself once the module is loaded.
  for (const name of ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"])
    assert.equal(node.run("sysctl", "-n", `net.bridge.${name}`).trim(), "1");
  const compiler = new PolicyCompiler(digest);
  await using filter = new PolicyFilter({
    exec: { run: (command, args, stdin) => withNetns(node.path, () => runCommand(command, args, stdin)) },
    logger: silentLogger,
    digest,
  });
  const both = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };
  const anyone = [{ podSelector: {} }];
  await filter.ensure(
    compiler.compile(inputWith({ ...both, ingress: [{ from: anyone }], egress: [{ to: anyone }] })),
  );
  assert.deepEqual([reaches(a, "10.9.0.2"), reaches(a, "fd09::2")], [true, true]);
  await filter.ensure(compiler.compile(inputWith(both)));
  for (const pod of pods) pod.run("ip", "neigh", "flush", "all");
  assert.deepEqual(
    [reaches(a, "10.9.0.2"), reaches(a, "fd09::2"), reaches(b, "10.9.0.1")],
    [false, false, false],
  );
  assert.deepEqual([reaches(node, "10.9.0.1"), reaches(node, "fd09::2")], [true, true]);
  assert.deepEqual([reaches(a, "10.9.0.254"), reaches(b, "fd09::fe")], [true, true]);
  await filter.ensure(compiler.compile(inputWith()));
  assert.deepEqual([reaches(a, "10.9.0.2"), reaches(a, "fd09::2")], [true, true]);
});
