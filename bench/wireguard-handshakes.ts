/**
 * Handshakes of userspace WireGuard: 1,000 peers (wireguard-peers.ts, real sockets) that start at once, and a flood of
 * strangers' messages (wireguard-flood.c) beside the traffic of two hosts.
 *
 *     container ── cni0 ── flannel-wg ── flanneld ══ UDP ══ flanneld ── flannel-wg ── cni0 ── container
 *                                                              ║
 *                                      1,000 peers, or a flood from 250 addresses
 */

import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { publicKeyOf } from "../src/linux/wireguard-keys.ts";
import { INITIATION_BYTES } from "../src/wireguard/protocol/messages.ts";
import type { BenchHost } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { peerAt } from "./support/peers.ts";
import { Site } from "./support/site.ts";
import { compileTools, type Ends, output, tcp } from "./support/traffic.ts";
import { privateMb, processorMs, residentMb } from "./support/usage.ts";
import { rest } from "./support/wait.ts";
import { LISTEN_PORT, wireguardNetwork } from "./support/wireguard-network.ts";

const FEW = 10;
const MANY = 1_000;
/** Memory is sampled while the handshakes run and for so long after them. */
const AFTER_MS = 2_000;
const SAMPLE_MS = 50;
const FLOOD_ADDRESSES = 250;
const FLOOD_FIRST = "192.168.77.1";
const FLOOD_PER_SECOND = 10_000;
const FLOOD_SECONDS = 10;
/** Until then, code for handshakes is compiled. */
const FLOOD_WARM_MS = 3_000;
const STRANGERS = 500;
const PROGRAM = join(import.meta.dirname, "wireguard-peers.ts");

export const wireguardHandshakes: Benchmark = {
  name: "wireguard-handshakes",
  async run(context) {
    const [upMs, moreMb]: [number[], number[]] = [[], []];
    for (let turn = 1; turn <= context.turns; turn++) {
      context.progress(`${FEW} and ${MANY} peers at once, turn ${turn} of ${context.turns}`);
      const few = await handshakesOf(context, FEW);
      const many = await handshakesOf(context, MANY);
      upMs.push(many.tookMs);
      moreMb.push(many.residentMb - few.residentMb);
    }
    return [
      {
        measure: "1,000 peers start at once: to the last handshake",
        ...{ value: median(upMs), unit: "ms", bar: 5_000, samples: upMs },
      },
      {
        measure: "  highest resident memory above that with 10 peers",
        ...{ value: median(moreMb), unit: "MB", bar: 60, samples: moreMb },
      },
      ...(await flood(context)),
    ];
  },
};

/** So many peers start their handshakes with one host at once. */
async function handshakesOf(
  { bed, flanneld }: BenchContext,
  count: number,
): Promise<{ readonly tookMs: number; readonly residentMb: number }> {
  const prefix = await bed.etcd.networkOf(count, wireguardNetwork(MANY));
  await using simulators = await bed.host();
  await using host = await bed.host();
  addAddresses(
    simulators,
    Array.from({ length: count }, (_, index) => peerAt(index).publicIp),
  );
  host.run("ip", "route", "add", "172.16.0.0/12", "via", simulators.address);
  await using daemon = new Daemon(host, {
    ...{ flanneld, etcdEndpoint: bed.etcd.endpoint, prefix, health: true },
    env: { WIREGUARD_KEY_FILE: join(host.directory, "wgkey") },
  });
  await daemon.ready();
  const args = [PROGRAM, host.address, String(LISTEN_PORT), publicKeyAt(host), String(count)];
  const peers = simulators.spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const lines = createInterface({ input: peers.stdout! })[Symbol.asyncIterator]();
    await lines.next(); // "ready"
    await rest();
    let highestMb = 0;
    const sample = () => {
      highestMb = Math.max(highestMb, residentMb(daemon.pid));
    };
    const sampling = setInterval(sample, SAMPLE_MS);
    peers.stdin!.write("start\n");
    const { value } = await lines.next();
    if (value === undefined) throw new Error("the peers ended before their handshakes were complete");
    await new Promise((resolve) => setTimeout(resolve, AFTER_MS));
    clearInterval(sampling);
    sample();
    await bed.etcd.remove(prefix, daemon.leaseKey());
    return { tookMs: Number(value), residentMb: highestMb };
  } finally {
    const exit = once(peers, "exit");
    peers.kill("SIGKILL");
    await exit;
  }
}

/** The throughput of one TCP stream without and with the flood at the host that receives it, in turn. */
async function flood(context: BenchContext): Promise<Measurement[]> {
  const { bed, turns, progress } = context;
  using tools = compileTools();
  const prefix = await bed.etcd.networkOf(0, wireguardNetwork(0));
  await using strangers = await bed.host();
  await using a = await Site.build(context, prefix);
  await using b = await Site.build(context, prefix);
  addAddresses(strangers, addressesFrom(FLOOD_FIRST, FLOOD_ADDRESSES));
  b.host.run("ip", "route", "add", "192.168.77.0/24", "via", strangers.address);
  const messages = join(strangers.directory, "messages");
  const text = await output(strangers, process.execPath, [
    ...[PROGRAM, "strangers", publicKeyAt(b.host), String(STRANGERS)],
  ]);
  writeFileSync(messages, Buffer.from(text, "base64"));
  const ends: Ends = { from: a.container, to: b.container, address: b.address };
  await tcp(ends, 1, []);
  const sendFlood = async (milliseconds: number): Promise<number> =>
    Number(
      await output(strangers, tools.flood, [
        ...[messages, String(INITIATION_BYTES), b.host.address, String(LISTEN_PORT)],
        ...[FLOOD_FIRST, String(FLOOD_ADDRESSES), String(FLOOD_PER_SECOND), String(milliseconds)],
      ]),
    );
  const [ratios, costUs]: [number[], number[]] = [[], []];
  const [quiet, flooded, takenMb, grownMb]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let turn = 1; turn <= turns; turn++) {
    progress(`flood of ${FLOOD_PER_SECOND} a second, turn ${turn} of ${turns}`);
    await rest();
    const without = (await tcp(ends, FLOOD_SECONDS, [])).gbitPerSecond;
    const beforeMb = privateMb(b.pid);
    const flooding = sendFlood(FLOOD_SECONDS * 1000 + 500);
    const warm = new Promise<number>((resolve) => setTimeout(() => resolve(privateMb(b.pid)), FLOOD_WARM_MS));
    const during = (await tcp(ends, FLOOD_SECONDS, [])).gbitPerSecond;
    const afterMb = privateMb(b.pid);
    grownMb.push(afterMb - (await warm));
    takenMb.push(afterMb - beforeMb);
    const sent = await flooding;
    if (sent < FLOOD_PER_SECOND * FLOOD_SECONDS * 0.95) progress(`only ${sent} messages were sent`);
    const startMs = processorMs(b.pid);
    const alone = await sendFlood(FLOOD_WARM_MS);
    costUs.push(((processorMs(b.pid) - startMs) * 1000) / alone);
    quiet.push(without);
    flooded.push(during);
    ratios.push(during / without);
  }
  for (const site of [a, b]) await bed.etcd.remove(prefix, site.leaseKey);
  return [
    {
      measure: "10,000 strangers' messages a second: one TCP stream",
      ...{ value: median(flooded), unit: "Gbit/s", floor: median(quiet), samples: flooded },
    },
    {
      measure: "  ÷ without them",
      ...{ value: median(ratios), unit: "×", leastBar: 0.8, samples: ratios },
    },
    {
      measure: "  processor time of the host for each, without traffic",
      ...{ value: median(costUs), unit: "µs", samples: costUs },
    },
    {
      measure: "  the host's own memory at the end, above that before",
      ...{ value: median(takenMb), unit: "MB", samples: takenMb },
    },
    {
      measure: "  and above that after 3 s of them",
      ...{ value: median(grownMb), unit: "MB", bar: 2, samples: grownMb },
    },
  ];
}

const publicKeyAt = (host: BenchHost): string =>
  Buffer.from(
    publicKeyOf(Buffer.from(readFileSync(join(host.directory, "wgkey"), "utf8").trim(), "base64")),
  ).toString("base64");

/** Gives the host further addresses. */
function addAddresses(host: BenchHost, addresses: readonly string[]): void {
  const batch = join(host.directory, "addresses");
  writeFileSync(batch, addresses.map((address) => `address add ${address}/32 dev eth0\n`).join(""));
  host.run("ip", "-batch", batch);
}

/** So many addresses of one /24. */
function addressesFrom(first: string, count: number): string[] {
  const base = first.slice(0, first.lastIndexOf(".") + 1);
  const start = Number(first.slice(base.length));
  return Array.from({ length: count }, (_, index) => `${base}${start + index}`);
}
