/**
 * What a restart of flanneld costs the traffic of the udp backend, which flanneld carries itself: small packets at a
 * steady rate in both directions between containers of two hosts, over SIGTERM and SIGKILL; with nothing but the
 * persistent device, and under a service manager that keeps descriptors, as systemd does.
 *
 *     container ── cni0 ── flannel0 ── flanneld ══ UDP ══ flanneld ── flannel0 ── cni0 ── container
 */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { ServiceManager } from "../test/support/service-manager.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { Ping, Site } from "./support/site.ts";
import { compileTools, type Ends } from "./support/traffic.ts";
import { waitFor } from "./support/wait.ts";
import { UDP } from "./udp.ts";

/** So that 500 packets, as many as the device holds, last for a second: a busy machine takes its time for a start. */
const PER_SECOND = 500;
/** Long enough for flanneld to end, to start, and to be ready. */
const STREAM_MS = 2_500;
const PORT = "7001";
const SIGNALS = ["SIGTERM", "SIGKILL"] as const;

export const udpRestart: Benchmark = {
  name: "udp-restart",
  async run(context) {
    using tools = compileTools();
    const prefix = await context.bed.etcd.networkOf(0, UDP);
    await using a = await Site.build(context, prefix);
    await using b = await Site.build(context, prefix);
    const measurements: Measurement[] = [];
    for (const signal of SIGNALS) {
      const { inward, outward } = await restarts(context, [a, b], signal, tools.packets);
      const lostFor = (direction: string, lost: readonly number[]): Measurement => {
        const samples = lost.map((count) => (count * 1000) / PER_SECOND);
        return {
          measure: `${signal}: packets ${direction} this host lost for`,
          value: median(samples),
          unit: "ms",
          samples,
        };
      };
      measurements.push(lostFor("to", inward), lostFor("from", outward));
    }
    using manager = new ServiceManager(join(a.host.directory, "notify"));
    a.manager = manager;
    await a.restart("SIGTERM");
    for (const signal of SIGNALS) {
      const { inward, outward, longestMs } = await restarts(context, [a, b], signal, tools.packets);
      const samples = inward.map((lost, turn) => lost + outward[turn]!);
      measurements.push(
        {
          measure: `${signal}, descriptors kept: packets lost in ${context.turns} restarts`,
          value: samples.reduce((sum, lost) => sum + lost, 0),
          unit: "",
          bar: 0,
          samples,
        },
        { measure: "  longest round trip", value: median(longestMs), unit: "ms", samples: longestMs },
      );
    }
    for (const site of [a, b]) await context.bed.etcd.remove(prefix, site.leaseKey);
    return measurements;
  },
};

/** Of each restart of the first site: packets lost in either direction, and the longest round trip of a ping. */
async function restarts(
  { turns, progress }: BenchContext,
  [a, b]: readonly [Site, Site],
  signal: (typeof SIGNALS)[number],
  program: string,
) {
  const inward: number[] = [];
  const outward: number[] = [];
  const longestMs: number[] = [];
  for (let turn = 1; turn <= turns; turn++) {
    progress(`${signal}${a.manager === undefined ? "" : ", descriptors kept"}, turn ${turn} of ${turns}`);
    using ping = new Ping(b.container, a.address);
    await ping.replies(5);
    let areOver = false;
    const streams = Promise.all([
      lostOf(program, { from: b.container, to: a.container, address: a.address }),
      lostOf(program, { from: a.container, to: b.container, address: b.address }),
    ]).finally(() => {
      areOver = true;
    });
    await ping.replies(15);
    await a.restart(signal);
    await ping.replies(5);
    if (areOver) throw new Error(`flanneld was not back before the packets ended (${STREAM_MS} ms)`);
    const [into, outOf] = await streams;
    inward.push(into);
    outward.push(outOf);
    longestMs.push(ping.longestMs);
  }
  return { inward, outward, longestMs };
}

/** Sends a stream of packets; how many did not arrive. */
async function lostOf(program: string, { from, to, address }: Ends): Promise<number> {
  const receiver = to.spawn(program, ["receive", PORT], { stdio: ["ignore", "pipe", "inherit"] });
  const received = linesOf(receiver);
  try {
    await waitFor("the receiver", () => (received.text.includes("ready") ? true : undefined));
    const sender = from.spawn(program, ["send", address, PORT, String(PER_SECOND), String(STREAM_MS)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const sent = linesOf(sender);
    await sent.closed;
    await new Promise((resolve) => setTimeout(resolve, 50)); // for what is still on the way
    receiver.kill("SIGTERM");
    await received.closed;
    return Number(sent.text) - Number(received.text.split("\n")[1]);
  } finally {
    receiver.kill("SIGKILL");
  }
}

/** What it prints, and when it has ended. */
function linesOf(child: ChildProcess): { text: string; readonly closed: Promise<unknown> } {
  const output = { text: "", closed: once(child, "close") };
  child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
    output.text += chunk;
  });
  return output;
}
