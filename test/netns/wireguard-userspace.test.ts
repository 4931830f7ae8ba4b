/** The wireguard backend on devices of flanneld itself (topology: agents.ts), against itself and against wireguard-go. */

import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  type Agent,
  addContainer,
  answers,
  type Cluster,
  type Container,
  type FabricHost,
  makeCluster,
  makeFabric,
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
  for (const host of hosts) t.after(() => rmSync(keyFileOf(host), { force: true }));
  for (const agent of agents) await agent.ready();
  return { hosts, cluster, agents };
}

const keyFileOf = ({ name }: TestNetns): string => join(tmpdir(), `flannel-wgkey-${name}`);
const containersOf = (t: TestContext, { hosts, agents }: Bed): [Container, Container] =>
  hosts.map((host, index) => addContainer(t, host, agents[index]!)) as [Container, Container];

test("containers reach each other over both families, each on a device of its own, with a preshared key", async (t) => {
  const bed = await makeBed(t, { ...DUAL, Backend: backend({ PSK, PersistentKeepaliveInterval: 25 }) });
  const [a, b] = containersOf(t, bed);
  await waitFor("an answer over IPv4", () => answers(a, b.ipv4), SLOW_MS);
  await waitFor("an answer over IPv6", () => answers(a, b.ipv6), SLOW_MS);
  assert.equal(bed.agents[0]!.env()?.mtuBytes, 1420);
  assert.ok(await answers(a, b.ipv4, 1420 - 28), "a full packet");
  assert.equal(
    bed.hosts[0]!.json("ip", "-json", "-detail", "link", "show", "flannel-wg")[0].linkinfo.info_kind,
    "tun",
  );
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
