/**
 * Failures of real nodes: bridges of an earlier installation, configs that never worked or have become invalid. With Debian's
 * bridge and host-local, as in cni.test.ts.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { IPV4, IPV6, isCniError, makeHost, REST } from "../support/cni-host.ts";

test("F10 a bridge with another subnet's address: the error says what to do, and doing it helps", async (t) => {
  for (const [env, old, expected] of [
    [
      IPV4,
      "10.5.71.1/24",
      /^bridge "cni0" has 10\.5\.71\.1\/24, but this node's subnet is 10\.5\.72\.0\/24 .*ip link delete cni0/,
    ],
    [
      IPV6,
      "fc00:5::1/48",
      /^bridge "cni0" has fc00:5::1\/48, but .* fc00:5:0:72::\/64 .*ip link delete cni0/,
    ],
  ] as const) {
    const node = makeHost(t, { env: env + REST });
    const pod = node.pod();
    node.host.run("ip", "link", "add", "cni0", "type", "bridge");
    node.host.run("ip", "link", "set", "cni0", "up");
    node.host.run("ip", "address", "add", old, "dev", "cni0");
    await assert.rejects(node.add(pod), isCniError(999, expected));
    assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
    await node.del(pod);
    node.host.run("ip", "link", "delete", "cni0");
    await node.add(node.pod());
  }
});

test("F10 a cni0 that is not a bridge", async (t) => {
  const node = makeHost(t);
  node.host.run("ip", "link", "add", "cni0", "type", "veth", "peer", "name", "cni1");
  await assert.rejects(node.add(node.pod()), isCniError(999, /^device "cni0" exists but is not a bridge, /));
});

for (const [title, ipam] of [
  ["no such plugin", { type: "dhcpp" }],
  ["a type that is a number", { type: 7 }],
  ["a directory that cannot be", { dataDir: "/proc/nothing" }],
  ["a route without a prefix length", { subnet: "10.9.0.0" }],
] as const) {
  test(`F12 ADD with a bad ipam (${title}) fails; DEL succeeds, now and with the corrected config`, async (t) => {
    const node = makeHost(t, { ipam });
    const [first, second] = [node.pod(), node.pod()];
    for (const pod of [first, second]) await assert.rejects(node.add(pod));
    await node.del(first);
    Object.assign(node.network.plugins[0]!.ipam!, {
      type: "host-local",
      dataDir: join(node.dataDir, "../networks"),
      subnet: undefined,
    });
    await node.del(second);
    assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
    // The bridge plugin leaves its bridge, and up to 1.1 it cannot use one without ports.
    const third = node.pod();
    await node.add(third).catch(async (error: Error) => {
      assert.match(error.message, /^bridge "cni0" has no MAC address, .*: ip link delete cni0; the next ADD/);
      node.host.run("ip", "link", "delete", "cni0");
      await node.add({ ...third, netns: node.pod().netns });
    });
    await node.del(third);
  });
}

test("F12 DEL with a delegate that has become invalid deletes by what is stored", async (t) => {
  const node = makeHost(t);
  const pod = node.pod();
  await node.add(pod);
  Object.assign(node.network.plugins[0]!, { delegate: { type: 5, name: "x" }, ipam: [] });
  await assert.rejects(node.add(node.pod()), isCniError(7, /'delegate'/));
  await node.del(pod);
  assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
});

test("F24 a FIFO as subnetFile is an error at once", async (t) => {
  const node = makeHost(t);
  rmSync(node.subnetFile);
  execFileSync("mkfifo", [node.subnetFile]);
  await assert.rejects(node.add(node.pod()), isCniError(5, /is a FIFO and not a regular file/));
});
