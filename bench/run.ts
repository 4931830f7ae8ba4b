/**
 * Runs the benchmarks and reports.
 *
 *     node bench/run.ts [name…] [--turns N] [--strict] [--flanneld PATH]
 *
 * Exits with 1 if something broke, and with --strict also if a bar was missed. --flanneld measures another executable
 * that takes the same flags: an older build, or Go's.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { allocation } from "./allocation.ts";
import { cloudMemory } from "./cloud-memory.ts";
import { cni } from "./cni.ts";
import { embeddedStore } from "./embedded-store.ts";
import { etcdRequests } from "./etcd-requests.ts";
import { eventLatency } from "./event-latency.ts";
import { firewall } from "./firewall.ts";
import { hostGw } from "./host-gw.ts";
import { kernelDevices } from "./kernel-devices.ts";
import { kubeEvents } from "./kube-events.ts";
import { kubeMemory } from "./kube-memory.ts";
import { kubeStart } from "./kube-start.ts";
import { live } from "./live.ts";
import { memory } from "./memory.ts";
import { packetLoss } from "./packet-loss.ts";
import { policy } from "./policy.ts";
import { policyStarts } from "./policy-starts.ts";
import { probes } from "./probes.ts";
import { repair } from "./repair.ts";
import { start } from "./start.ts";
import { status } from "./status.ts";
import { makeBed } from "./support/bed.ts";
import type { Benchmark } from "./support/benchmark.ts";
import { isKept } from "./support/measurement.ts";
import { formatTable, type Outcome, writeResults } from "./support/report.ts";
import { udp } from "./udp.ts";
import { udpRestart } from "./udp-restart.ts";
import { wireguard } from "./wireguard.ts";
import { wireguardHandshakes } from "./wireguard-handshakes.ts";

const BENCHMARKS: readonly Benchmark[] = [
  start,
  hostGw,
  memory,
  cloudMemory,
  etcdRequests,
  eventLatency,
  repair,
  packetLoss,
  status,
  probes,
  live,
  firewall,
  allocation,
  embeddedStore,
  kubeStart,
  kubeMemory,
  kubeEvents,
  cni,
  udp,
  udpRestart,
  wireguard,
  wireguardHandshakes,
  kernelDevices,
  policy,
  policyStarts,
];
const DEFAULT_TURNS = 5;
/** Set in the process that has a network namespace of its own. */
const INSIDE = "FLANNEL_BENCH_INSIDE";

/** etcd's data and the hosts' files are in memory, as /run is on a real host: a slow disk is not flanneld's doing. */
const FILES = "/dev/shm";
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

interface Options {
  readonly benchmarks: readonly Benchmark[];
  readonly turns: number;
  readonly strict: boolean;
  readonly flanneld: string;
}

function readOptions(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      turns: { type: "string", default: String(DEFAULT_TURNS) },
      strict: { type: "boolean", default: false },
      flanneld: { type: "string", default: join(import.meta.dirname, "../bin/flanneld") },
    },
  });
  const turns = Number(values.turns);
  if (!Number.isInteger(turns) || turns < 1)
    throw new Error(`--turns: a number from 1 on, not ${values.turns}`);
  const unknown = positionals.filter((name) => !BENCHMARKS.some((benchmark) => benchmark.name === name));
  if (unknown.length > 0) {
    const names = BENCHMARKS.map(({ name }) => name).join(", ");
    throw new Error(`no benchmark is named ${unknown.join(", ")}; there are ${names}`);
  }
  if (!existsSync(values.flanneld)) throw new Error(`--flanneld: ${values.flanneld} does not exist`);
  const isWanted = ({ name }: Benchmark) => positionals.length === 0 || positionals.includes(name);
  return {
    benchmarks: BENCHMARKS.filter(isWanted),
    turns,
    strict: values.strict,
    flanneld: resolve(values.flanneld),
  };
}

async function runAll({ benchmarks, turns, strict, flanneld }: Options): Promise<number> {
  const outcomes: Outcome[] = [];
  await using bed = await makeBed();
  for (const { name, run } of benchmarks) {
    const progress = (text: string) => console.error(`${name}: ${text}`);
    try {
      outcomes.push({ name, measurements: await run({ bed, flanneld, turns, progress }) });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      console.error(`${name}: broke: ${error instanceof Error ? error.stack : text}`);
      outcomes.push({ name, measurements: [], error: text.split("\n")[0]! });
    }
  }
  console.log(`\n${formatTable(outcomes)}\n`);
  console.log(`written to ${writeResults(join(import.meta.dirname, "results"), turns, outcomes)}`);
  const missed = outcomes
    .flatMap(({ measurements }) => measurements)
    .filter((m) => isKept(m) === false).length;
  if (missed > 0) console.log(`${missed} ${missed === 1 ? "bar" : "bars"} missed`);
  return outcomes.some(({ error }) => error !== undefined) || (strict && missed > 0) ? 1 : 0;
}

/** Runs this program again in a network namespace of its own, which goes with it. */
async function runInside(): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error("network namespaces need root: run as root");
  const child = spawn("unshare", ["--net", process.execPath, ...process.argv.slice(1)], {
    stdio: "inherit",
    env: { ...process.env, [INSIDE]: "1", TMPDIR: FILES },
  });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  const [code] = await once(child, "exit");
  return code ?? 1;
}

async function main(): Promise<number> {
  try {
    const options = readOptions();
    if (process.env[INSIDE] === undefined) return await runInside();
    // Leaving through exit() lets everything that was made here take itself away.
    for (const signal of SIGNALS) process.on(signal, () => process.exit(1));
    process.setMaxListeners(100); // several hosts at once, each of which listens for that
    return await runAll(options);
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}`);
    return 2;
  }
}

process.exitCode = await main();
process.exit();
