/**
 * What Docker's unit relies on when it is ordered after flanneld's (Type=notify): flanneld sends READY=1 only when
 * Docker can be started with what it wrote.
 *
 *     hub 192.168.64.1: etcd ── eth0 192.168.64.11 h1: flanneld ── NOTIFY_SOCKET ── this test
 */

import assert from "node:assert/strict";
import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { DockerHost, putNetworkConfig } from "../support/docker-hosts.ts";
import { startEtcdOn, TestHosts } from "../support/hosts.ts";
import { ServiceManager } from "../support/service-manager.ts";

test("READY=1 is sent once, and not before device, subnet.env and firewall are in place", async () => {
  await using bed = new TestHosts("order", 1);
  const [host] = bed.hosts;
  const { endpoint } = await startEtcdOn(bed.hub);
  const docker = new DockerHost(host!, endpoint, []);
  using manager = new ServiceManager(join(host!.directory, "notify"));
  const ready = () => manager.messages.filter((message) => message.includes("READY"));
  // The file cannot be written while a directory has its name.
  mkdirSync(docker.subnetFile, { recursive: true });

  const flanneld = docker.launchFlanneld({ NOTIFY_SOCKET: manager.path });
  const says = (text: string) => flanneld.brings(text, () => flanneld.stderr.includes(text));
  await says("there is no network config");
  assert.deepEqual(ready(), []);

  await putNetworkConfig(bed.hub, endpoint);
  await says(`failed to write ${docker.subnetFile}`);
  await flanneld.brings("device and firewall", async () => {
    const rules = await docker.run("iptables", "-S", "FORWARD");
    return rules.includes("FLANNEL-FWD") && (await isDeviceUp(docker));
  });
  assert.deepEqual(ready(), []);

  rmdirSync(docker.subnetFile);
  await flanneld.brings("a message", () => ready().length > 0);
  assert.deepEqual(ready(), ["READY=1"]);
  // As ExecStartPost does, immediately.
  assert.deepEqual(await docker.dockerOptions(), [
    `--bip=${docker.variable("FLANNEL_SUBNET")}`,
    "--ip-masq=true",
    "--mtu=1450",
  ]);
  assert.ok(await isDeviceUp(docker));

  assert.equal(await flanneld.stop(), 0);
  assert.deepEqual(ready(), ["READY=1"]);
});

async function isDeviceUp(host: DockerHost): Promise<boolean> {
  const [device] = JSON.parse(await host.run("ip", "-json", "link", "show", "flannel.1"));
  return device.flags.includes("UP");
}
