/**
 * What the status server costs: resident memory with it against without it; how long an answer about thousands of peers
 * takes, and the longest turn of the event loop meanwhile (support/loop-turns.cjs); what 200 event streams cost, one of which is
 * not read.
 */

import { once } from "node:events";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RouteReport } from "../src/status/api.ts";
import { askDaemon } from "../src/status/status-client.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { PeerEntryCount } from "./support/kernel-events.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { peerAt } from "./support/peers.ts";
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
const METRICS_BAR_MB = 1;
/** Pages of code that ran once are unmapped after a while: src/agent/memory-keeper.ts. */
const IDLE_MS = 14_000;
const LOOP_TURNS = join(import.meta.dirname, "support/loop-turns.cjs");
/** As many as the server serves; the last one is not read. */
const STREAMS = 200;
/** Changes of leases, each an event, in rounds of so many: more than an idle reader's buffers and the ring of events hold. */
const ROUNDS = 20;
const EVENTS_PER_ROUND = 200;
const STREAMS_BAR_MB = 2;

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
  /** Processor time of an answer: the same on a loaded machine. */
  readonly routesProcessorMs: number[];
  /** Longest turn of the event loop during each answer, in processor time. */
  readonly turnMs: number[];
  readonly metricsMb: number[];
  readonly streamsMb: number[];
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
    routesProcessorMs: [],
    turnMs: [],
    metricsMb: [],
    streamsMb: [],
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
    line("/v1/routes, processor time", "ms", on.routesProcessorMs),
    line("longest turn of the event loop meanwhile, processor time", "ms", on.turnMs, BLOCKED_BAR_MS),
    line("/metrics", "MB", on.metricsMb, METRICS_BAR_MB),
    ...(on.streamsMb.length === 0
      ? []
      : [
          line(
            `${STREAMS} event streams: growth of own memory with the second ${(ROUNDS * EVENTS_PER_ROUND) / 2} events`,
            "MB",
            on.streamsMb,
            STREAMS_BAR_MB,
          ),
        ]),
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
  const loopFile = join(host.directory, "loop-turns");
  const env = { NODE_OPTIONS: `--require=${LOOP_TURNS}`, FLANNEL_BENCH_LOOP_FILE: loopFile };
  await using daemon = new Daemon(host, { flanneld, etcdEndpoint: bed.etcd.endpoint, prefix, args, env });
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
    await delay(IDLE_MS);
    samples.askedMb.push(await resident());
    samples.ownAskedMb.push(privateMb(daemon.pid));
    samples.metricsMb.push((await read(socket, "/metrics")) / 1e6);
    await ask(socket, { pid: daemon.pid, file: loopFile }, samples);
    if (count === NETWORKS[0]!.count)
      samples.streamsMb.push(await measureStreams(bed, prefix, socket, daemon.pid));
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
 * Reads the routes again and again, and then once more each with the turns of the event loop measured. Nothing is parsed
 * here: that would hold up this process, and with it what it measures.
 */
async function ask(
  socket: string,
  loop: { readonly pid: number; readonly file: string },
  { routesMs, routesProcessorMs, turnMs }: Samples,
): Promise<void> {
  for (let answer = 0; answer < ANSWERS; answer++) {
    const beforeMs = processorMs(loop.pid);
    routesMs.push(await timeOf(() => read(socket, "/v1/routes")));
    routesProcessorMs.push(processorMs(loop.pid) - beforeMs);
    rmSync(loop.file, { force: true });
    process.kill(loop.pid, "SIGUSR2");
    await read(socket, "/v1/lease"); // the signal is handled
    await read(socket, "/v1/routes");
    process.kill(loop.pid, "SIGUSR2");
    turnMs.push(
      await waitFor("the turns of the event loop", () =>
        existsSync(loop.file) ? Number(readFileSync(loop.file, "utf8")) : undefined,
      ),
    );
  }
}

/** Sends events to 200 streams, one of which is not read. Throws if that one is not dropped; the growth of own memory in the second half. */
async function measureStreams(
  { etcd }: BenchContext["bed"],
  prefix: string,
  socketPath: string,
  pid: number,
): Promise<number> {
  const streams: Socket[] = [];
  const closed = new Set<Socket>();
  try {
    for (let number = 0; number < STREAMS; number++) {
      const stream = connect(socketPath);
      streams.push(stream);
      stream.on("error", () => {}).once("close", () => closed.add(stream));
      stream.write("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
      await once(stream, "readable");
      if (number < STREAMS - 1) stream.resume();
    }
    const idle = streams.at(-1)!.pause();
    const send = async () => {
      const peers = Array.from({ length: EVENTS_PER_ROUND / 2 }, (_, number) => peerAt(9_000 + number));
      await etcd.apply(
        prefix,
        peers.map((put) => ({ put })),
      );
      await delay(100);
      await etcd.apply(
        prefix,
        peers.map(({ key }) => ({ remove: key })),
      );
      await delay(1_200); // a lease that is gone counts for another second
    };
    await send();
    let beforeMb = 0;
    for (let round = 1; round < ROUNDS; round++) {
      await send();
      if (round === ROUNDS / 2) beforeMb = privateMb(pid);
    }
    const grownMb = privateMb(pid) - beforeMb;
    idle.resume(); // it learns of its end by reading
    await waitFor("the stream that is not read to be dropped", () => (closed.has(idle) ? true : undefined));
    if (closed.size !== 1) throw new Error(`${closed.size - 1} streams that were read were dropped, too`);
    return grownMb;
  } finally {
    for (const stream of streams) stream.destroy();
  }
}

/** The length of the answer in bytes. */
async function read(socketPath: string, path: string): Promise<number> {
  const [response] = (await once(request({ socketPath, path, agent: false }).end(), "response")) as [
    IncomingMessage,
  ];
  let length = 0;
  response.on("data", (chunk: Buffer) => {
    length += chunk.length;
  });
  await once(response, "end");
  return length;
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}
