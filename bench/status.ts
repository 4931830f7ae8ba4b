/**
 * What the status server costs: resident memory with it against without it, and how long an answer about thousands of
 * peers takes and holds up everything else.
 */

import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RouteReport } from "../src/status/api.ts";
import { askDaemon } from "../src/status/status-client.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { PeerEntryCount } from "./support/kernel-events.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { privateMb, processorMs, residentMb } from "./support/usage.ts";
import { steady, waitFor } from "./support/wait.ts";

/** Leases, and the bar for what the server adds to resident memory. */
const NETWORKS = [
  { count: 10, barMb: 4 },
  { count: 5_000, barMb: 10 },
];
const OFF = ["--status-listen=off", "--status-socket=off"];
const STEADY = { tolerance: 0.5, stableMs: 2_000, deadlineMs: 60_000 };
const ANSWERS = 20;
const ROUTES_BAR_MS = 30;
const BLOCKED_BAR_MS = 10;

export const status: Benchmark = {
  name: "status",
  async run(context) {
    const measurements: Measurement[] = [];
    for (const { count, barMb } of NETWORKS)
      measurements.push(...(await measureCount(context, count, barMb)));
    return measurements;
  },
};

interface Samples {
  readonly residentMb: number[];
  readonly startMs: number[];
  readonly routesMs: number[];
  /** Longest wait of another request during each answer, and during the same time without one. */
  readonly waitMs: number[];
  readonly quietMs: number[];
  readonly askedMb: number[];
  /** Without pages of files, which the kernel can drop: at first, and after the answers. */
  readonly ownMb: number[];
  readonly ownAskedMb: number[];
}

async function measureCount(context: BenchContext, count: number, barMb: number): Promise<Measurement[]> {
  const make = (): Samples => ({
    residentMb: [],
    startMs: [],
    routesMs: [],
    waitMs: [],
    quietMs: [],
    askedMb: [],
    ownMb: [],
    ownAskedMb: [],
  });
  const off = make();
  const on = make();
  for (let turn = 1; turn <= context.turns; turn++) {
    context.progress(`${count} leases, turn ${turn} of ${context.turns}`);
    await measureOnce(context, count, OFF, off);
    await measureOnce(context, count, [], on);
  }
  const leases = `${count.toLocaleString("en-US")} leases`;
  const line = (measure: string, unit: string, samples: readonly number[], bar?: number): Measurement => ({
    ...{ measure: `${leases}: ${measure}`, value: median(samples), unit, samples },
    ...(bar === undefined ? {} : { bar }),
  });
  const above = (samples: readonly number[], floor: readonly number[]): number[] =>
    samples.map((value) => value - median(floor));
  return [
    line("resident memory without the status server", "MB", off.residentMb),
    line("more with it", "MB", above(on.residentMb, off.residentMb), barMb),
    line(
      `more after ${ANSWERS} answers of /v1/routes and /metrics`,
      "MB",
      above(on.askedMb, off.residentMb),
      barMb,
    ),
    line("own memory without it", "MB", off.ownMb),
    line("own memory, more with it", "MB", above(on.ownMb, off.ownMb)),
    line("own memory, more after these answers", "MB", above(on.ownAskedMb, off.ownMb)),
    line("processor time of the start without it", "ms", off.startMs),
    line("processor time of the start with it", "ms", on.startMs),
    line("/v1/routes", "ms", on.routesMs, ROUTES_BAR_MS),
    line("longest wait of another request meanwhile", "ms", on.waitMs, BLOCKED_BAR_MS),
    line("the same without such an answer", "ms", on.quietMs),
  ];
}

async function measureOnce(
  { bed, flanneld }: BenchContext,
  count: number,
  args: readonly string[],
  samples: Samples,
): Promise<void> {
  const prefix = await bed.etcd.networkOf(count);
  await using host = await bed.host();
  using entries = new PeerEntryCount(host.path, count);
  await using daemon = new Daemon(host, { flanneld, etcdEndpoint: bed.etcd.endpoint, prefix, args });
  await daemon.brings("the last entry", entries.all, 120_000);
  const resident = () =>
    daemon.brings(
      "memory",
      steady("memory", () => residentMb(daemon.pid), STEADY),
      90_000,
    );
  samples.residentMb.push(await resident());
  samples.ownMb.push(privateMb(daemon.pid));
  samples.startMs.push(processorMs(daemon.pid));
  if (args !== OFF) {
    const socket = join(host.directory, "flanneld.sock");
    await askOnce(socket, count);
    samples.askedMb.push(await resident());
    samples.ownAskedMb.push(privateMb(daemon.pid));
    await ask(socket, samples);
  }
  await daemon.stop("SIGTERM");
  await bed.etcd.remove(prefix, daemon.leaseKey());
}

/** As monitoring asks: everything, a few times. */
async function askOnce(socket: string, count: number): Promise<void> {
  const routes = () => askDaemon<RouteReport[]>(socket, "/v1/routes");
  await waitFor("the routes", async () => ((await routes()).length === count ? true : undefined), {
    deadlineMs: 30_000,
  });
  for (let answer = 0; answer < ANSWERS; answer++) {
    await read(socket, "/v1/routes");
    await read(socket, "/metrics");
  }
}

/**
 * Reads the routes again and again, and then once more each while another client asks for something small. Nothing is
 * parsed here: that would hold up this process, and with it what it measures.
 */
async function ask(socket: string, { routesMs, waitMs, quietMs }: Samples): Promise<void> {
  const longestWaitMs = async (work: () => Promise<unknown>): Promise<number> => {
    let isDone = false;
    let longestMs = 0;
    const other = (async () => {
      while (!isDone) longestMs = Math.max(longestMs, await timeOf(() => read(socket, "/v1/lease")));
    })();
    await work();
    isDone = true;
    await other;
    return longestMs;
  };
  for (let answer = 0; answer < ANSWERS; answer++) {
    const tookMs = await timeOf(() => read(socket, "/v1/routes"));
    routesMs.push(tookMs);
    waitMs.push(await longestWaitMs(() => read(socket, "/v1/routes")));
    quietMs.push(await longestWaitMs(() => delay(tookMs)));
  }
}

async function read(socketPath: string, path: string): Promise<void> {
  const [response] = (await once(request({ socketPath, path, agent: false }).end(), "response")) as [
    IncomingMessage,
  ];
  await once(response.resume(), "end");
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}
