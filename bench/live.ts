/**
 * Changes while flanneld runs, seen by a ping every 10 ms between containers of two hosts: packets lost while the network
 * config gets another MTU and while a third host gets another address; and how long the containers have to wait for
 * their next answer once their hosts have theirs, when the underlay's link was away (its carrier, or the interface).
 *
 * The kernel itself takes up to two seconds for a carrier that comes back: net/core/link_watch.c lets ports forward once a
 * second, and the first question of ARP is lost and repeated after another.
 */

import { execFileSync } from "node:child_process";
import { openRtnetlink } from "../src/linux/netlink-socket.ts";
import type { BenchHost } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import type { NetworkKind } from "./support/etcd.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { DEVICE } from "./support/peers.ts";
import { Ping, Site } from "./support/site.ts";
import { waitFor } from "./support/wait.ts";

const PEERS = 10;
/** Replies before and after a change. */
const MARGIN_REPLIES = 30;
const FLAP_BAR_MS = 200;
const BACKENDS = ["vxlan", "host-gw"] as const;
const BRIDGE_NETWORK_LENGTH = 16;

const kindOf = (backend: (typeof BACKENDS)[number]): NetworkKind => ({
  name: `live-${backend}`,
  config: configOf(backend),
  leaseOf: ({ value }) => value,
});

const configOf = (type: string, members: object = {}): string =>
  JSON.stringify({ Network: "10.0.0.0/8", SubnetLen: 24, Backend: { Type: type, ...members } });

export const live: Benchmark = {
  name: "live",
  async run(context) {
    const measurements: Measurement[] = [];
    for (const backend of BACKENDS) {
      const prefix = await context.bed.etcd.networkOf(PEERS, kindOf(backend));
      await using a = await Site.build(context, prefix);
      await using b = await Site.build(context, prefix);
      if (backend === "vxlan") {
        await using c = await Site.build(context, prefix);
        measurements.push(await changeMtu(context, prefix, a, b), await moveHost(context, a, b, c));
        await context.bed.etcd.remove(prefix, c.leaseKey);
      }
      measurements.push(...(await flap(context, backend, a, b)));
      for (const site of [a, b]) await context.bed.etcd.remove(prefix, site.leaseKey);
    }
    return measurements;
  },
};

async function changeMtu(
  { turns, progress }: BenchContext,
  prefix: string,
  a: Site,
  b: Site,
): Promise<Measurement> {
  using ping = new Ping(a.container, b.address);
  for (let turn = 1; turn <= turns; turn++) {
    progress(`another MTU, turn ${turn} of ${turns}`);
    await ping.replies(MARGIN_REPLIES);
    const outer = turn % 2 === 1 ? 1400 : 1500;
    execFileSync("etcdctl", ["--endpoints=http://127.0.0.1:2379", "put", `${prefix}/config`], {
      input: configOf("vxlan", { MTU: outer }),
      env: { ...process.env, ETCDCTL_API: "3" },
    });
    for (const { host } of [a, b])
      await waitFor("the new MTU", () => mtuOf(host) === outer - 50 || undefined, { intervalMs: 5 });
  }
  await ping.replies(MARGIN_REPLIES);
  return lossOf(ping, `MTU changed in the config ${turns} times`);
}

function mtuOf(host: BenchHost): number | undefined {
  using rtnetlink = openRtnetlink({ netns: host.path });
  return rtnetlink.linkByName(DEVICE)?.mtuBytes;
}

async function moveHost(
  { turns, progress }: BenchContext,
  a: Site,
  b: Site,
  moved: Site,
): Promise<Measurement> {
  using ping = new Ping(a.container, b.address);
  const old = moved.host.address;
  const gateway = /via (\S+)/.exec(moved.host.run("ip", "route", "show", "default"))![1]!;
  for (let turn = 1; turn <= turns; turn++) {
    progress(`another address, turn ${turn} of ${turns}`);
    for (const [from, to] of [
      [old, other(old)],
      [other(old), old],
    ] as const) {
      await ping.replies(MARGIN_REPLIES);
      moved.host.run("ip", "address", "del", `${from}/${BRIDGE_NETWORK_LENGTH}`, "dev", "eth0");
      moved.host.run("ip", "address", "add", `${to}/${BRIDGE_NETWORK_LENGTH}`, "dev", "eth0");
      moved.host.run("ip", "route", "replace", "default", "via", gateway);
      const follows = () => a.host.run("bridge", "fdb", "show", "dev", DEVICE).includes(`dst ${to} `);
      await waitFor("the peer to follow", () => follows() || undefined);
    }
  }
  await ping.replies(MARGIN_REPLIES);
  // With both, the connections of either can be closed: what the kernel cannot close would keep the namespace.
  moved.host.run("ip", "address", "add", `${other(old)}/${BRIDGE_NETWORK_LENGTH}`, "dev", "eth0");
  return lossOf(ping, `third host's address changed ${2 * turns} times`);
}

/** "192.168.0.12" → "192.168.100.12". */
const other = (address: string): string => address.replace(/^(\d+\.\d+)\.\d+/, "$1.100");

const lossOf = (ping: Ping, what: string): Measurement => ({
  measure: `${what}: lost of ${ping.highest} packets`,
  value: ping.lost,
  unit: "",
  bar: 0,
});

async function nextReplyAt(ping: Ping): Promise<number> {
  await ping.replies(1);
  return performance.now();
}

async function flap(
  { turns, progress }: BenchContext,
  backend: string,
  a: Site,
  b: Site,
): Promise<Measurement[]> {
  using ping = new Ping(a.container, b.address);
  using underlay = new Ping(a.host, b.host.address);
  const leg = a.host.name.split("-").at(-1)!;
  const flaps: Readonly<Record<string, (state: "up" | "down") => void>> = {
    "carrier lost and back": (state) => void execFileSync("ip", ["link", "set", leg, state]),
    "interface down and up": (state) => {
      a.host.run("ip", "link", "set", "eth0", state);
    },
  };
  const measurements: Measurement[] = [];
  for (const [what, set] of Object.entries(flaps)) {
    const samples: number[] = [];
    for (let turn = 1; turn <= turns; turn++) {
      progress(`${backend}: ${what}, turn ${turn} of ${turns}`);
      await ping.replies(MARGIN_REPLIES);
      set("down");
      const sent = ping.highest;
      await waitFor("packets to be lost", () => ping.isSilentFor(100) || undefined);
      set("up");
      const [underlayMs, overlayMs] = await Promise.all([nextReplyAt(underlay), nextReplyAt(ping)]);
      samples.push(Math.max(0, overlayMs - underlayMs));
      if (ping.highest <= sent) throw new Error("an answer from before the link went");
    }
    const measure = `${backend}: ${what}: next answer after the underlay's`;
    measurements.push(
      {
        measure: `${measure}, median of ${turns}`,
        value: median(samples),
        unit: "ms",
        bar: FLAP_BAR_MS,
        samples,
      },
      {
        measure: `${measure}, slowest of ${turns}`,
        value: Math.max(...samples),
        unit: "ms",
        bar: FLAP_BAR_MS,
      },
    );
  }
  return measurements;
}
