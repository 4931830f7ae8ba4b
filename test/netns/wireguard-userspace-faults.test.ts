/** The wireguard backend on devices of flanneld itself when something is wrong with a peer or the host (topology: agents.ts). */

import assert from "node:assert/strict";
import { closeSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { exec } from "../../src/linux/exec.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { openUdpOnAll } from "../../src/linux/udp-socket.ts";
import {
  addContainer,
  answers,
  type Container,
  expectAnswer,
  type FabricHost,
  makeCluster,
  makeFabric,
  uapiDirectoryOf,
} from "./agents.ts";
import { waitFor } from "./support.ts";

const PSK = "MCYm5Gh4cvTzKE1nUDk4Ta5zKJW1RZkSIKIB1nCuDGs=";
const OTHER_PSK = "BBYm5Gh4cvTzKE1nUDk4Ta5zKJW1RZkSIKIB1nCuDGs=";
const SLOW_MS = 25_000;
const configWith = (more: object = {}) => ({
  Network: "10.5.0.0/16",
  Backend: { Type: "wireguard", Implementation: "userspace", ...more },
});

function makeHosts(t: TestContext, links: readonly number[]): FabricHost[] {
  const hosts = makeFabric(t, links);
  for (const { name } of hosts) {
    t.after(() => rmSync(join(tmpdir(), `flannel-wgkey-${name}`), { force: true }));
    t.after(() => rmSync(uapiDirectoryOf(name), { recursive: true, force: true }));
  }
  return hosts;
}

/** Endpoints of the peers, by `wg show`. */
async function endpointsOf(host: FabricHost): Promise<string> {
  const script =
    'mkdir -p /var/run/wireguard && mount --bind "$1" /var/run/wireguard && exec wg show flannel-wg endpoints';
  const args = ["-m", "sh", "-c", script, "sh", uapiDirectoryOf(host.name)];
  return (await exec("unshare", args, { netns: host.path })).stdout;
}

test("another PSK at the peer is reported after 15 s as no handshake, in the log and as a note, and the host is ready", async (t) => {
  const [first, second] = makeHosts(t, [0, 1]) as [FabricHost, FabricHost];
  const clusters = [PSK, OTHER_PSK].map((psk) => makeCluster(t, configWith({ PSK: psk })));
  const [own, other] = clusters as [(typeof clusters)[0], (typeof clusters)[0]];
  const agent = own.start(first);
  await agent.ready();
  // Its subnet is taken there too.
  for (const [key, { value }] of own.data.entries) other.data.put(key, value);
  const peer = other.start(second);
  await peer.ready();
  for (const [key, { value }] of other.data.entries) if (!own.data.entries.has(key)) own.data.put(key, value);
  const container = addContainer(t, first, agent);
  const address = `${peer.env()!.subnets!.ipv4!.base}`;
  const target = [24n, 16n, 8n, 0n].map((shift) => (BigInt(address) >> shift) & 255n).join(".");
  const startedMs = performance.now();
  const line = await waitFor(
    "a line",
    async () => {
      assert.equal(await answers(container, target), false);
      return agent.log.find((each) => /^W No handshake with peer/.test(each));
    },
    SLOW_MS,
  );
  const tookMs = performance.now() - startedMs;
  assert.match(
    line,
    /No handshake with peer 192\.168\.8\.2:51820 \(10\.5\.\d+\.0\/24, PublicKey .*\) on flannel-wg after 15 s of sending; .*that both hosts have the same PSK/,
  );
  assert.ok(tookMs > 14_000, `${tookMs} ms`);
  assert.match(agent.readiness.notes.join("\n"), /no handshake with peer 192\.168\.8\.2:51820/);
  assert.deepEqual(agent.readiness.reasons, []);
  assert.ok(!agent.log.join("\n").includes(PSK));
});

test("a listen port that another program has is reported with its remedy, retried, and taken when it is free", async (t) => {
  const [host] = makeHosts(t, [0]) as [FabricHost];
  const { fd } = withNetns(host.path, () => openUdpOnAll(4, 51820));
  let isOpen = true;
  const close = () => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  t.after(close);
  const agent = makeCluster(t, configWith()).start(host);
  await agent.logged(/another program has UDP port 51820 open \(see 'ss -lunp sport = 51820'\): stop it, or/);
  assert.notDeepEqual(agent.readiness.reasons, []);
  close();
  await agent.ready();
});

test("where a peer roams to is its endpoint, and no drift", async (t) => {
  const hosts = makeHosts(t, [0, 1]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, configWith());
  const agents = hosts.map((host) => cluster.start(host));
  for (const agent of agents) await agent.ready();
  const [a, b] = hosts.map((host, index) => addContainer(t, host, agents[index]!)) as [Container, Container];
  await waitFor("an answer", () => answers(b, a.ipv4), SLOW_MS);
  const [first, second] = hosts;
  const passes = () => agents[0]!.log.filter((line) => /Programmed|drift/i.test(line)).length;
  second.run("ip", "address", "add", "192.168.8.99/24", "dev", "eth0");
  second.run("ip", "route", "replace", "default", "via", "192.168.8.254", "src", "192.168.8.99");
  await waitFor("an answer", () => answers(b, a.ipv4), SLOW_MS);
  const hasRoamed = async () => (await endpointsOf(first)).includes("\t192.168.8.99:51820");
  await waitFor("the roaming", hasRoamed, SLOW_MS);
  const before = passes();
  // A second peer is planned, and the device is compared meanwhile.
  cluster.data.put(
    "10.5.201.0-24",
    `{"PublicIP":"192.168.8.77","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"${PSK}","Port":4321}}`,
  );
  await waitFor(
    "the other peer",
    async () => (await endpointsOf(first)).includes("192.168.8.77:4321"),
    SLOW_MS,
  );
  await waitFor(
    "a poll",
    (() => {
      const untilMs = performance.now() + 6_000;
      return () => performance.now() > untilMs;
    })(),
    SLOW_MS,
  );
  assert.ok(await hasRoamed());
  assert.equal(passes() - before, 1, agents[0]!.log.slice(-5).join("\n"));
  await expectAnswer(b, a.ipv4);
});

test("an MTU that leaves too little for IPv6 and peers without a usable key are named, and the others are reached", async (t) => {
  const hosts = makeHosts(t, [0, 1]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, configWith());
  const put = (number: number, data: object | null) =>
    cluster.data.put(
      `10.5.${number}.0-24`,
      JSON.stringify({
        PublicIP: `192.168.8.${number - 100}`,
        PublicIPv6: null,
        BackendType: "wireguard",
        BackendData: data,
      }),
    );
  put(201, null);
  put(202, { PublicKey: PSK, Port: 51820 });
  put(203, { PublicKey: PSK, Port: 51820 });
  const agents = hosts.map((host) => cluster.start(host));
  for (const agent of agents) await agent.ready();
  const [a, b] = hosts.map((host, index) => addContainer(t, host, agents[index]!)) as [Container, Container];
  await waitFor("an answer", () => answers(a, b.ipv4), SLOW_MS);
  await agents[0]!.logged(/Peer 10\.5\.201\.0-24 cannot be reached: it has no PublicKey in its BackendData/);
  await agents[0]!.logged(
    /Peer 10\.5\.20[23]\.0-24 cannot be reached: its PublicKey .* is already that of 10\.5\.20[23]\.0-24/,
  );

  const narrow = makeCluster(t, { ...configWith({ MTU: 1300 }), EnableIPv6: true, IPv6Network: "fc00::/48" });
  const [third] = makeHosts(t, [0]) as [FabricHost];
  const agent = narrow.start(third);
  assert.match(
    String(await agent.ended),
    /an MTU of 1300 bytes leaves 1220 inside WireGuard, less than IP's 1280: raise Backend\.MTU/,
  );
});
