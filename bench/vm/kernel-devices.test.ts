/**
 * Measures wireguard and ipip on the kernel's devices, inside the virtual machine (started by ../kernel-devices.ts, which
 * reads the lines "measurement {…}"). Its processor is emulated: only what is compared within one run says something.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { RT_TABLE_MAIN } from "../../src/netlink/route.ts";
import { RTPROT_FLANNEL } from "../../src/state/objects.ts";
import { makeCluster, makeFabric } from "../../test/netns/agents.ts";
import { waitFor } from "../../test/netns/support.ts";
import { type Measurement, median, quantile } from "../support/measurement.ts";

const PEERS = 5_000;
const TURNS = 3;
const EVENTS = 200;
const LIMIT_MS = 120_000;

const report = (t: TestContext, measurement: Measurement) =>
  t.diagnostic(`measurement ${JSON.stringify(measurement)}`);

interface Peer {
  readonly subnet: string;
  readonly publicIp: string;
  readonly publicKey: string;
}

const peerAt = (index: number): Peer => ({
  subnet: `10.${64 + (index >> 8)}.${index & 255}.0`,
  publicIp: `172.16.${index >> 8}.${index & 255}`,
  publicKey: randomBytes(32).toString("base64"),
});
const leaseOf = (type: string, { publicIp }: Peer, data?: object): string =>
  JSON.stringify({ PublicIP: publicIp, PublicIPv6: null, BackendType: type, BackendData: data });

test("wireguard: start to the last of 5,000 peers, beside wg syncconf and ip -batch", async (t) => {
  const peers = Array.from({ length: PEERS }, (_, index) => peerAt(index));
  const [agentMs, readyMs, floorMs]: [number[], number[], number[]] = [[], [], []];
  for (let turn = 0; turn < TURNS; turn++) {
    floorMs.push(await t.test(`floor ${turn}`, (t) => configureByTools(t, peers)).then(() => taken.floor));
    agentMs.push(await t.test(`agent ${turn}`, (t) => startAgent(t, peers)).then(() => taken.agent));
    readyMs.push(taken.ready);
  }
  const ratios = agentMs.map((ms, turn) => ms / floorMs[turn]!);
  report(t, {
    measure: "5,000 kernel WireGuard peers: start to all configured",
    ...{ value: median(agentMs), unit: "ms", floor: median(floorMs), samples: agentMs },
  });
  report(t, {
    measure: "5,000 kernel WireGuard peers: start to ready, the firewall and a second observation included",
    ...{ value: median(readyMs), unit: "ms", samples: readyMs },
  });
  report(t, {
    measure: "5,000 kernel WireGuard peers: start to all configured ÷ floor",
    ...{ value: median(ratios), unit: "×", bar: 1.5, samples: ratios },
  });
});

/** What the last parts took, in ms. */
const taken = { floor: 0, agent: 0, ready: 0 };

async function startAgent(t: TestContext, peers: readonly Peer[]): Promise<void> {
  const [host] = makeFabric(t, [0]);
  t.after(() => rmSync(join(tmpdir(), `flannel-wgkey-${host!.name}`), { force: true }));
  const cluster = makeCluster(t, { Network: "10.0.0.0/8", Backend: { Type: "wireguard" } });
  for (const peer of peers)
    cluster.data.put(
      `${peer.subnet}-24`,
      leaseOf("wireguard", peer, { PublicKey: peer.publicKey, Port: 51820 }),
    );
  const startedMs = performance.now();
  const agent = cluster.start(host!);
  // The kernel has them when their batch is acknowledged; asking it meanwhile would slow it down.
  const hasAll = () => agent.log.some((line) => Number(/Programmed (\d+) objects/.exec(line)?.[1]) > PEERS);
  await waitFor("all peers", hasAll, LIMIT_MS);
  taken.agent = performance.now() - startedMs;
  await waitFor("readiness", () => agent.readiness.reasons.length === 0, LIMIT_MS);
  taken.ready = performance.now() - startedMs;
  assert.equal(host!.run("wg", "show", "flannel-wg", "endpoints").trim().split("\n").length, PEERS);
}

/** The same objects. */
async function configureByTools(t: TestContext, peers: readonly Peer[]): Promise<void> {
  const [host] = makeFabric(t, [0]);
  const [batch, config] = ["batch", "config"].map((name) => join(tmpdir(), `${host!.name}-${name}`));
  t.after(() => {
    for (const path of [batch!, config!]) rmSync(path, { force: true });
  });
  writeFileSync(
    batch!,
    [
      "link add flannel-wg mtu 1420 type wireguard",
      "link set flannel-wg up",
      "address add 10.5.1.0/32 dev flannel-wg",
      "route add 10.0.0.0/8 dev flannel-wg proto 70",
      "",
    ].join("\n"),
  );
  const sections = peers.map(
    ({ publicKey, publicIp, subnet }) =>
      `[Peer]\nPublicKey = ${publicKey}\nEndpoint = ${publicIp}:51820\nAllowedIPs = ${subnet}/24\n`,
  );
  const key = host!.run("wg", "genkey").trim();
  writeFileSync(config!, `[Interface]\nPrivateKey = ${key}\nListenPort = 51820\n${sections.join("")}`);
  const startedMs = performance.now();
  host!.run("ip", "-batch", batch!);
  host!.run("wg", "syncconf", "flannel-wg", config!);
  taken.floor = performance.now() - startedMs;
  assert.equal(host!.run("wg", "show", "flannel-wg", "endpoints").trim().split("\n").length, PEERS);
}

test("ipip: a peer's event to its route, beside ip route add", async (t) => {
  const [host] = makeFabric(t, [0]);
  const cluster = makeCluster(t, { Network: "10.0.0.0/8", Backend: { Type: "ipip" } });
  const agent = cluster.start(host!);
  await agent.ready();
  using rtnetlink = openRtnetlink({ netns: host!.path });
  const hasRoute = (destination: string) =>
    rtnetlink
      .routes({ family: 4, table: RT_TABLE_MAIN, protocol: RTPROT_FLANNEL })
      .some((route) => route.destination === destination);
  const [eventMs, floorMs]: [number[], number[]] = [[], []];
  for (let turn = 0; turn < EVENTS; turn++) {
    const peer = peerAt(turn);
    const destination = `${peer.subnet}/24`;
    const startedMs = performance.now();
    cluster.data.put(`${peer.subnet}-24`, leaseOf("ipip", peer));
    while (!hasRoute(destination)) await new Promise((resolve) => setImmediate(resolve));
    eventMs.push(performance.now() - startedMs);
    const other = `10.200.${turn >> 8}.${turn & 255}/32`;
    const floorStartedMs = performance.now();
    host!.run("ip", "route", "add", other, "via", peer.publicIp, "dev", "flannel.ipip", "onlink");
    floorMs.push(performance.now() - floorStartedMs);
    host!.run("ip", "route", "delete", other);
  }
  report(t, {
    measure: "ipip: peer event to its route, p99",
    ...{ value: quantile(eventMs, 0.99), unit: "ms", floor: quantile(floorMs, 0.99) },
  });
  report(t, {
    measure: "ipip: peer event to its route, median",
    ...{ value: median(eventMs), unit: "ms", floor: median(floorMs) },
  });
});
