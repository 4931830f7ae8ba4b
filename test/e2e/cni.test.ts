/**
 * bin/flannel as a container runtime runs it, with Debian's bridge, host-local and portmap.
 *
 *      host's namespace: cni0 10.5.72.1 / fc00:5:0:72::1
 *            ┌─────┴─────┐
 *     eth0 .2          eth0 .3
 *          pod          pod
 */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { nodeSystem } from "../../src/cni/node-system.ts";
import { runPlugin } from "../../src/cni/run-plugin.ts";
import { SUPPORTED_VERSIONS } from "../../src/cni/versions.ts";
import { withNetns } from "../../src/linux/netns.ts";
import {
  addressesIn,
  DEBIAN_PLUGINS,
  IPV4,
  IPV6,
  isCniError,
  makeHost,
  PLUGIN_PATH,
  REST,
} from "../support/cni-host.ts";
import { type Container, cniRuntime } from "../support/cni-runtime.ts";
import { ping } from "../support/ping.ts";
import { TestProcess } from "../support/process.ts";

// Without the plugin's own runner a bridge that ends before it reads stdin is an EPIPE.
const delegateVersions: string[] = JSON.parse(
  await runPlugin(nodeSystem(), {
    path: join(DEBIAN_PLUGINS, "bridge"),
    config: "{}",
    environment: { CNI_COMMAND: "VERSION" },
  }),
).supportedVersions;

for (const cniVersion of SUPPORTED_VERSIONS.filter((version) => delegateVersions.includes(version))) {
  test(`pods are added and deleted with version ${cniVersion}`, async (t) => {
    const node = makeHost(t, { cniVersion });
    const pods = [node.pod(), node.pod()];
    for (const pod of pods) {
      const result = await node.add(pod);
      assert.equal(result.cniVersion, cniVersion);
      const [address] = addressesIn(pod);
      const said = result.ip4?.ip ?? result.ips[0].address;
      assert.equal(said, `${address}/24`);
      assert.match(address!, /^10\.5\.72\.\d+$/);
      const [link] = pod.ns.json("ip", "-json", "link", "show", "dev", "eth0");
      assert.equal(link.mtu, 1450);
      const routes = pod.ns.json("ip", "-json", "route").map(({ dst }: { dst: string }) => dst);
      assert.deepEqual(routes.sort(), ["10.5.0.0/16", "10.5.72.0/24", "default"]);
      if (cniVersion >= "0.4.0") await node.check(pod);
    }
    assert.equal(await ping(pods[0]!.netns, addressesIn(pods[1]!)[0]!), 5);
    assert.deepEqual(node.kept().sort(), pods.map(({ id }) => id).sort());
    for (const pod of pods) {
      await node.del(pod);
      await node.del(pod);
    }
    assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
  });
}

for (const cniVersion of SUPPORTED_VERSIONS.filter((version) => !delegateVersions.includes(version))) {
  test(`a delegate that does not support ${cniVersion} is the error, and nothing is left`, async (t) => {
    const node = makeHost(t, { cniVersion });
    await assert.rejects(node.add(node.pod()), isCniError(1, /incompatible CNI versions/));
    assert.deepEqual([node.held(), node.veths()], [[], []]);
  });
}

test("dual stack: an address and routes of each family", async (t) => {
  const node = makeHost(t, { env: IPV4 + IPV6 + REST });
  const [one, other] = [node.pod(), node.pod()];
  const { ips, routes } = await node.add(one);
  await node.add(other);
  assert.deepEqual(
    ips.map(({ address }: { address: string }) => address),
    ["10.5.72.2/24", "fc00:5:0:72::2/64"],
  );
  assert.deepEqual(
    routes.map(({ dst }: { dst: string }) => dst),
    ["10.5.0.0/16", "fc00:5::/48", "0.0.0.0/0", "::/0"],
  );
  for (const address of addressesIn(other)) assert.equal(await ping(one.netns, address), 5);
  await node.check(one);
  for (const pod of [one, other]) await node.del(pod);
  assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
});

test("IPv6 only", async (t) => {
  const node = makeHost(t, { env: IPV6 + REST });
  const [one, other] = [node.pod(), node.pod()];
  for (const pod of [one, other]) await node.add(pod);
  assert.deepEqual(addressesIn(one), ["fc00:5:0:72::2"]);
  assert.equal(await ping(one.netns, addressesIn(other)[0]!), 5);
});

test("the delegate masquerades if flanneld does not, and removes its rules", async (t) => {
  const node = makeHost(t, { env: (IPV4 + REST).replace("IPMASQ=true", "IPMASQ=false") });
  const pod = node.pod();
  await node.add(pod);
  assert.ok(node.natRules().some((rule) => rule.includes("MASQUERADE") && rule.includes("cbr0")));
  await node.del(pod);
  assert.deepEqual(node.natRules(), []);
});

test("a chain with portmap: a port of the host is forwarded to the pod", async (t) => {
  const node = makeHost(t);
  const pod = node.pod({
    capabilities: {
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
      bandwidth: { ingressRate: 1 },
    },
  });
  await node.add(pod);
  await using server = new TestProcess("busybox", ["nc", "-ll", "-p", "80", "-e", "echo", "from the pod"], {
    netns: pod.netns,
  });
  let answer = "";
  await server.brings("an answer on the host's port", () => {
    try {
      answer = node.host.run("busybox", "nc", "-w", "2", "10.5.72.1", "8080");
    } catch {} // it may not listen yet
    return answer !== "";
  });
  assert.equal(answer, "from the pod\n");
  await node.del(pod);
  assert.deepEqual(
    node.natRules().filter((rule) => rule.includes("8080")),
    [],
  );
});

test("CHECK finds what is missing", async (t) => {
  const node = makeHost(t);
  const [pod, stranger] = [node.pod(), node.pod()];
  await node.add(pod);
  await assert.rejects(node.check(stranger), isCniError(3, /nothing is stored for pod1/));
  pod.ns.run("ip", "route", "delete", "10.5.0.0/16");
  await assert.rejects(node.check(pod), isCniError(999, /Expected Route/));
});

test("an ADD that fails half-way leaves neither address nor interface nor file", async (t) => {
  const node = makeHost(t);
  const pod = node.pod();
  pod.ns.run("ip", "link", "add", "eth0", "type", "bridge");
  // host-local has handed out an address by the time that bridge finds the name taken.
  await assert.rejects(node.add(pod), isCniError(999, /eth0/));
  assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
});

test("a full subnet is host-local's error, and a DEL frees an address", async (t) => {
  const node = makeHost(t, { env: IPV4.replace("10.5.72.1/24", "10.5.72.1/30") + REST });
  const [first, second] = [node.pod(), node.pod()];
  await node.add(first);
  await assert.rejects(node.add(second), /no IP addresses available/);
  await node.del(second);
  assert.deepEqual([node.kept(), node.held()], [[first.id], ["10.5.72.2"]]);
  await node.del(first);
  await node.add(second);
});

test("eight pods at once get eight addresses, and are deleted at once", async (t) => {
  const node = makeHost(t);
  const pods = Array.from({ length: 8 }, () => node.pod());
  const results = await Promise.all(pods.map((pod) => node.add(pod)));
  assert.equal(new Set(results.map(({ ips }) => ips[0].address)).size, 8);
  assert.equal(node.kept().length, 8);
  await Promise.all(pods.map((pod) => node.del(pod)));
  assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
});

test("two interfaces of one pod, added at once", async (t) => {
  const node = makeHost(t, { delegate: { isDefaultGateway: false } });
  const eth0 = node.pod();
  const net1 = { ...eth0, ifName: "net1" };
  await Promise.all([node.add(eth0), node.add(net1)]);
  assert.equal(node.held().length, 2);
  await node.del(net1);
  await node.del(net1);
  assert.equal(node.held().length, 1);
  await node.check(eth0);
  await node.del(eth0);
  assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
});

test("pods that Go's plugin has added: deleted by this one", async (t) => {
  const node = makeHost(t);
  const [made, deleted] = [node.pod(), node.pod()];
  // As Go's plugin does (src/cni/vectors.json): it stores this text and passes it to the delegate.
  const text =
    '{"cniVersion":"1.0.0","hairpinMode":true,"ipMasq":false,"ipam":{"dataDir":' +
    `${JSON.stringify(node.network.plugins[0]!.ipam!.dataDir)},"ranges":[[{"subnet":"10.5.72.0/24"}]],"routes":` +
    '[{"dst":"10.5.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}';
  const bridge = (command: string, pod: Container, config: string) =>
    runPlugin(nodeSystem({ within: (start) => withNetns(node.host.path, start) }), {
      path: join(DEBIAN_PLUGINS, "bridge"),
      config,
      environment: {
        PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
        CNI_COMMAND: command,
        CNI_CONTAINERID: pod.id,
        CNI_NETNS: pod.netns,
        CNI_IFNAME: "eth0",
        CNI_PATH: DEBIAN_PLUGINS,
      },
    });
  mkdirSync(node.dataDir, { mode: 0o700 });
  writeFileSync(join(node.dataDir, made.id), text, { mode: 0o600 });
  await bridge("ADD", made, text);
  // And pods of this plugin, deleted as by Go's: the stored text to the delegate, then the file is removed.
  await node.add(deleted);
  const stored = readFileSync(join(node.dataDir, deleted.id), "utf8");
  assert.equal(stored, text);
  assert.equal(await ping(made.netns, addressesIn(deleted)[0]!), 5);
  await node.del(made);
  await bridge("DEL", deleted, stored);
  rmSync(join(node.dataDir, deleted.id));
  assert.deepEqual([node.kept(), node.held(), node.veths()], [[], [], []]);
});

test("W40 without subnet.env ADD fails with try again later; with it pods start", async (t) => {
  const node = makeHost(t);
  const pod = node.pod();
  const env = readFileSync(node.subnetFile, "utf8");
  rmSync(node.subnetFile);
  await assert.rejects(
    node.add(pod),
    isCniError(11, /flanneld has not written \S+subnet\.env yet: is flanneld/),
  );
  await node.del(pod);
  writeFileSync(node.subnetFile, env.replace(/FLANNEL_IPMASQ.*\n/, ""));
  await assert.rejects(node.add(pod), isCniError(11, /subnet\.env is missing FLANNEL_IPMASQ/));
  writeFileSync(node.subnetFile, env);
  await node.add(pod);
  rmSync(node.subnetFile);
  await node.del(pod);
  assert.deepEqual([node.kept(), node.held()], [[], []]);
});

test("STATUS and GC with delegates from before 1.1.0", async (t) => {
  const node = makeHost(t, { cniVersion: "1.1.0" });
  const flannelOnly = cniRuntime(
    { ...node.network, plugins: node.network.plugins.slice(0, 1) },
    node.host.path,
    PLUGIN_PATH,
  );
  await assert.rejects(flannelOnly.status(), isCniError(50, /"bridge" does not support version 1\.1\.0/));
  const env = readFileSync(node.subnetFile, "utf8");
  rmSync(node.subnetFile);
  await assert.rejects(flannelOnly.status(), isCniError(50, /flanneld has not written/));
  writeFileSync(node.subnetFile, env);
  // Pods that were added when the network's config had version 1.0.0.
  const older = cniRuntime({ ...node.network, cniVersion: "1.0.0" }, node.host.path, PLUGIN_PATH);
  const [stays, goes] = [node.pod(), node.pod()];
  for (const pod of [stays, goes]) await older.add(pod);
  await flannelOnly.gc([stays]);
  assert.deepEqual([node.kept(), node.held()], [[stays.id], ["10.5.72.2"]]);
});
