/** The wireguard backend on devices of flanneld itself (topology: agents.ts), against itself and against wireguard-go. */

import assert from "node:assert/strict";
import { readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { exec } from "../../src/linux/exec.ts";
import {
  type Agent,
  addContainer,
  answers,
  type Cluster,
  type Container,
  expectAnswer,
  type FabricHost,
  makeCluster,
  makeFabric,
  uapiDirectoryOf,
} from "./agents.ts";
import { type TestNetns, waitFor } from "./support.ts";

const PSK = "MCYm5Gh4cvTzKE1nUDk4Ta5zKJW1RZkSIKIB1nCuDGs=";
const SLOW_MS = 20_000;
const backend = (more: object = {}) => ({ Type: "wireguard", Implementation: "userspace", ...more });
const CONFIG = { Network: "10.5.0.0/16", Backend: backend() };
const DUAL = { ...CONFIG, EnableIPv6: true, IPv6Network: "fc00::/48" };

interface Bed {
  readonly hosts: readonly FabricHost[];
  readonly cluster: Cluster;
  readonly agents: readonly Agent[];
}

async function makeBed(t: TestContext, config: object): Promise<Bed> {
  const hosts = makeFabric(t, [0, 1]);
  const cluster = makeCluster(t, config as Record<string, unknown>);
  const agents = hosts.map((host) => cluster.start(host));
  for (const host of hosts) {
    t.after(() => rmSync(keyFileOf(host), { force: true }));
    t.after(() => rmSync(uapiDirectoryOf(host.name), { recursive: true, force: true }));
  }
  for (const agent of agents) await agent.ready();
  return { hosts, cluster, agents };
}

const keyFileOf = ({ name }: TestNetns): string => join(tmpdir(), `flannel-wgkey-${name}`);
const containersOf = (t: TestContext, { hosts, agents }: Bed): [Container, Container] =>
  hosts.map((host, index) => addContainer(t, host, agents[index]!)) as [Container, Container];

/** What `wg show flannel-wg dump` says of the device whose socket is in the directory. Not synchronous: this process answers. */
async function wgShow(host: TestNetns, directory: string): Promise<string> {
  const script =
    'mkdir -p /var/run/wireguard && mount --bind "$1" /var/run/wireguard && exec wg show flannel-wg dump';
  const args = ["-m", "sh", "-c", script, "sh", directory];
  return (await exec("unshare", args, { netns: host.path })).stdout.trim();
}

test("containers reach each other over both families, each on a device of its own, with a preshared key", async (t) => {
  const bed = await makeBed(t, { ...DUAL, Backend: backend({ PSK, PersistentKeepaliveInterval: 25 }) });
  const [a, b] = containersOf(t, bed);
  await waitFor("an answer over IPv4", () => answers(a, b.ipv4), SLOW_MS);
  await waitFor("an answer over IPv6", () => answers(a, b.ipv6), SLOW_MS);
  assert.equal(bed.agents[0]!.env()?.mtuBytes, 1420);
  await expectAnswer(a, b.ipv4, 1420 - 28); // a full packet
  assert.equal(
    bed.hosts[0]!.json("ip", "-json", "-detail", "link", "show", "flannel-wg")[0].linkinfo.info_kind,
    "tun",
  );
  const dump = (await wgShow(bed.hosts[0]!, uapiDirectoryOf(bed.hosts[0]!.name))).split("\n");
  assert.match(dump[0]!, /^\S{44}\t\S{44}\t51820\toff$/);
  const [, presharedKey, endpoint, allowedIps, handshake, received, sent, keepalive] = dump[1]!.split("\t");
  assert.deepEqual([presharedKey, endpoint, keepalive], [PSK, "192.168.8.2:51820", "25"]);
  assert.match(allowedIps!, /^10\.5\.\d+\.0\/24$/);
  assert.ok(Math.abs(Number(handshake) - Date.now() / 1000) < 60 && Number(received) > 0 && Number(sent) > 0);
  assert.equal(statSync(join(uapiDirectoryOf(bed.hosts[0]!.name), "flannel-wg.sock")).mode & 0o777, 0o600);
  await bed.agents[0]!.logged(/WireGuard runs in flanneld itself/);
  const text = bed.agents.flatMap(({ log }) => log).join("\n");
  for (const secret of [PSK, ...bed.hosts.map((host) => readFileSync(keyFileOf(host), "utf8").trim())])
    assert.ok(!text.includes(secret), "no secret in the log");
});

test("one network over its life", async (t) => {
  const bed = await makeBed(t, { ...DUAL, Backend: backend({ Mode: "auto" }) });
  const [a, b] = containersOf(t, bed);
  const [first, second] = bed.hosts as [FabricHost, FabricHost];
  await waitFor("an answer over IPv4", () => answers(a, b.ipv4), SLOW_MS);
  await waitFor("an answer over IPv6", () => answers(a, b.ipv6), SLOW_MS);

  await t.test("a host that restarts is reached by a new handshake", async () => {
    await bed.agents[1]!.stop();
    await bed.cluster.start(second).ready();
    await waitFor("an answer", () => answers(b, a.ipv4), SLOW_MS);
  });

  await t.test("a deleted device comes back with its peers", async () => {
    first.run("ip", "link", "delete", "flannel-wg");
    await waitFor("an answer", () => answers(a, b.ipv4), SLOW_MS);
  });
});
