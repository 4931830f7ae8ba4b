/**
 * The wireguard backend on the kernel's devices (topology: ../netns/agents.ts). Runs in the virtual machine, because most
 * kernels for containers have no WireGuard.
 */

import assert from "node:assert/strict";
import { readFileSync, rmSync, statSync } from "node:fs";
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
} from "../netns/agents.ts";
import { type TestNetns, waitFor } from "../netns/support.ts";
import { PingStream } from "../support/ping.ts";

const PSK = "MCYm5Gh4cvTzKE1nUDk4Ta5zKJW1RZkSIKIB1nCuDGs=";
const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "wireguard" } };
const DUAL = { ...CONFIG, EnableIPv6: true, IPv6Network: "fc00::/48" };
const SLOW_MS = 20_000;

interface Bed {
  readonly hosts: readonly FabricHost[];
  readonly cluster: Cluster;
  readonly agents: readonly Agent[];
}

/** Hosts on two links, each with its agent ready. */
async function makeBed(t: TestContext, config: object, links: readonly number[] = [0, 1]): Promise<Bed> {
  const hosts = makeFabric(t, links);
  const cluster = makeCluster(t, config as Record<string, unknown>);
  const agents = hosts.map((host) => cluster.start(host));
  for (const host of hosts) t.after(() => rmSync(keyFileOf(host), { force: true }));
  for (const agent of agents) await agent.ready();
  return { hosts, cluster, agents };
}

const keyFileOf = ({ name }: TestNetns): string => join(tmpdir(), `flannel-wgkey-${name}`);
const containersOf = (t: TestContext, { hosts, agents }: Bed): Container[] =>
  hosts.map((host, index) => addContainer(t, host, agents[index]!));
/** One line a peer: public key, endpoint, allowed IPs. */
const peersOf = (host: TestNetns, device = "flannel-wg"): string[] =>
  host
    .run("wg", "show", device, "dump")
    .trim()
    .split("\n")
    .slice(1)
    .map((line) => {
      const [key, , endpoint, allowedIps] = line.split("\t");
      return `${key} ${endpoint} ${allowedIps}`;
    })
    .sort();
const publicKeyOf = (host: TestNetns, device = "flannel-wg"): string =>
  host.run("wg", "show", device, "public-key").trim();

test("containers reach each other, encrypted, over both families, each on a device of its own", async (t) => {
  const bed = await makeBed(t, {
    ...DUAL,
    Backend: { Type: "wireguard", PSK, PersistentKeepaliveInterval: 25 },
  });
  const [a, b] = containersOf(t, bed) as [Container, Container];
  await waitFor("an answer over IPv4", () => answers(a, b.ipv4), SLOW_MS);
  await waitFor("an answer over IPv6", () => answers(a, b.ipv6), SLOW_MS);
  assert.equal(bed.agents[0]!.env()?.mtuBytes, 1420);
  assert.ok(await answers(a, b.ipv4, 1420 - 28));
  const [first, second] = bed.hosts as [FabricHost, FabricHost];
  const [line] = peersOf(first);
  assert.match(
    line!,
    new RegExp(`^${escapeRegExp(publicKeyOf(second))} 192\\.168\\.8\\.2:51820 10\\.5\\.\\d+\\.0/24$`),
  );
  assert.match(peersOf(first, "flannel-wg-v6")[0]!, /\[fd00:8::2\]:51821 fc00:/);
  assert.match(first.run("wg", "show", "flannel-wg", "preshared-keys"), new RegExp(escapeRegExp(PSK)));
  const text = [
    ...bed.agents.flatMap(({ log }) => log),
    ...[...bed.cluster.data.entries.values()].map(({ value }) => value),
  ];
  const secrets = [PSK, ...bed.hosts.map((host) => readFileSync(keyFileOf(host), "utf8").trim())];
  for (const secret of secrets)
    assert.ok(!text.some((each) => each.includes(secret)), "no secret in logs or leases");
  assert.equal(statSync(keyFileOf(first)).mode & 0o777, 0o400);
});

test("W28 Mode auto, with and without IPv6: one device carries both families", async (t) => {
  for (const config of [CONFIG, DUAL]) {
    const bed = await makeBed(t, { ...config, Backend: { Type: "wireguard", Mode: "auto" } });
    const [a, b] = containersOf(t, bed) as [Container, Container];
    await waitFor("an answer over IPv4", () => answers(a, b.ipv4), SLOW_MS);
    if (config === DUAL) await waitFor("an answer over IPv6", () => answers(a, b.ipv6), SLOW_MS);
    assert.equal(peersOf(bed.hosts[0]!).length, 1);
  }
});

test("one network over its life", async (t) => {
  const bed = await makeBed(t, CONFIG);
  const [a, b] = containersOf(t, bed) as [Container, Container];
  const [first, second] = bed.hosts as [FabricHost, FabricHost];
  await waitFor("an answer", () => answers(a, b.ipv4), SLOW_MS);

  await t.test("W30 a restart keeps device, key and peers, and loses no packet", async () => {
    const identity = () => first.run("wg", "show", "flannel-wg", "dump").split("\n")[0];
    const before = identity();
    await using pings = new PingStream(a.path, b.ipv4);
    await pings.more(20);
    await bed.agents[0]!.stop();
    await pings.more(20);
    await bed.cluster.start(first).ready();
    await pings.more(20);
    assert.deepEqual((await pings.stop()).lost, []);
    assert.equal(identity(), before);
  });

  await t.test("foreign peers and removed peers are repaired", async () => {
    const [peer] = peersOf(first);
    const foreign = first.run("sh", "-c", "wg genkey | wg pubkey").trim();
    first.run("wg", "set", "flannel-wg", "peer", foreign, "allowed-ips", "10.5.99.0/24");
    first.run("wg", "set", "flannel-wg", "peer", publicKeyOf(second), "remove");
    await waitFor("the repair", () => peersOf(first).join() === peer, SLOW_MS);
  });

  await t.test("a deleted device comes back with its peers", async () => {
    const before = peersOf(first);
    first.run("ip", "link", "delete", "flannel-wg");
    const isBack = () => {
      try {
        return peersOf(first).join() === before.join();
      } catch {
        return false;
      }
    };
    await waitFor("the repair", isBack, SLOW_MS);
    await waitFor("an answer", () => answers(a, b.ipv4), SLOW_MS);
  });

  await t.test("W29 a peer with a new key leaves nothing old", async () => {
    const oldKey = publicKeyOf(second);
    await bed.agents[1]!.stop();
    rmSync(keyFileOf(second));
    await bed.cluster.start(second).ready();
    const newKey = publicKeyOf(second);
    assert.notEqual(newKey, oldKey);
    const hasNewKeyAlone = () => peersOf(first).length === 1 && peersOf(first)[0]!.startsWith(newKey);
    await waitFor("the new key alone", hasNewKeyAlone, SLOW_MS);
    await waitFor("an answer", () => answers(a, b.ipv4), SLOW_MS);
  });
});

const escapeRegExp = (text: string): string => text.replace(/[+/]/g, "\\$&");
