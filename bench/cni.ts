/**
 * What the CNI plugin adds to the start of a container: VERSION, which is little more than its start, and ADD with a delegate
 * that does nothing, less that delegate alone. As nodes run it, in Node.js, and the start of Node.js itself; sizes.
 * FLANNEL_BENCH_GO_CNI=PATH measures Go's plugin in the same turns: the bars in multiples of it.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { rest } from "./support/wait.ts";

/** Of the time of Go's plugin. */
const GO_BAR_TIMES = 3;
/** Of the start of Node.js. */
const NODE_BAR_TIMES = 0.5;
const SIZE_BAR_MB = 5;
const ROUNDS_PER_TURN = 10;
const ROOT = join(import.meta.dirname, "..");

const SUBNET_ENV =
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
/** Reads its config and prints a result, by what the shell itself can do. */
const DELEGATE = `#!/bin/sh\nread -r config\necho '{"cniVersion":"1.0.0","ips":[{"address":"10.5.72.2/24"}]}'\n`;

interface Program {
  readonly name: string;
  readonly path: string;
}

export const cni: Benchmark = {
  name: "cni",
  async run(context) {
    const directory = mkdtempSync(join(tmpdir(), "bench-cni-"));
    const remove = () => rmSync(directory, { recursive: true, force: true });
    process.once("exit", remove);
    try {
      return await measure(context, directory);
    } finally {
      process.off("exit", remove);
      remove();
    }
  },
};

async function measure({ turns, progress }: BenchContext, directory: string): Promise<Measurement[]> {
  const delegate = join(directory, "plugins/delegate");
  mkdirSync(join(directory, "plugins"));
  writeFileSync(delegate, DELEGATE, { mode: 0o755 });
  writeFileSync(join(directory, "subnet.env"), SUBNET_ENV);
  const plugin = join(ROOT, "dist/flannel");
  const go = process.env.FLANNEL_BENCH_GO_CNI;
  const programs: readonly Program[] = [
    { name: "the plugin", path: plugin },
    { name: "through bin/flannel", path: join(ROOT, "bin/flannel") },
    { name: "the plugin in Node.js", path: writeLauncher(directory, join(ROOT, "dist/flannel.cjs")) },
    ...(go === undefined ? [] : [{ name: "Go's plugin", path: go }]),
  ];
  const nothing = writeLauncher(directory, writeNothing(directory));
  const versions = new Map<string, number[]>(programs.map(({ name }) => [name, []]));
  const adds = new Map<string, number[]>(programs.map(({ name }) => [name, []]));
  const starts: number[] = [];
  for (let turn = 1; turn <= turns; turn++) {
    progress(`turn ${turn} of ${turns}`);
    await rest();
    for (let round = 0; round < ROUNDS_PER_TURN; round++) {
      const delegateMs = callMs(delegate, "ADD", directory, round);
      starts.push(callMs(nothing, "VERSION", directory, round));
      for (const { name, path } of programs) {
        versions.get(name)!.push(callMs(path, "VERSION", directory, round));
        adds.get(name)!.push(callMs(path, "ADD", directory, round) - delegateMs);
      }
    }
  }
  const startMs = median(starts);
  const linesOf = (what: string, samplesOf: ReadonlyMap<string, number[]>): Measurement[] => {
    const goMs = go === undefined ? undefined : median(samplesOf.get("Go's plugin")!);
    return programs.map(({ name, path }) => ({
      measure: `CNI ${what}: ${name}`,
      value: median(samplesOf.get(name)!),
      unit: "ms",
      floor: goMs,
      bar:
        path === plugin ? (goMs === undefined ? NODE_BAR_TIMES * startMs : GO_BAR_TIMES * goMs) : undefined,
      samples: samplesOf.get(name)!,
    }));
  };
  return [
    ...linesOf("VERSION", versions),
    ...linesOf("ADD without its delegate", adds),
    { measure: "CNI: Node.js, doing nothing", value: startMs, unit: "ms", samples: starts },
    {
      measure: "CNI: the plugin on a node",
      value: statSync(plugin).size / 1e6,
      unit: "MB",
      bar: SIZE_BAR_MB,
    },
    ...(go === undefined
      ? []
      : [{ measure: "CNI: Go's plugin on a node", value: statSync(go).size / 1e6, unit: "MB" }]),
  ];
}

/** From before the start of the plugin until it has ended, for a container that is new each time. */
function callMs(program: string, command: string, directory: string, round: number): number {
  const dataDir = join(directory, "data");
  rmSync(dataDir, { recursive: true, force: true });
  const subnetFile = join(directory, "subnet.env");
  const config = {
    cniVersion: "1.0.0",
    name: "cbr0",
    type: "flannel",
    subnetFile,
    dataDir,
    delegate: { type: "delegate" },
  };
  const startedMs = performance.now();
  const { status, stdout } = spawnSync(program, {
    input: `${JSON.stringify(config)}\n`,
    encoding: "utf8",
    env: {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: `container${round}`,
      CNI_NETNS: "/run/netns/none",
      CNI_IFNAME: "eth0",
      CNI_PATH: join(directory, "plugins"),
    },
  });
  const endedMs = performance.now();
  if (status !== 0) throw new Error(`${program} failed: ${stdout}`);
  return endedMs - startedMs;
}

/** A program of no lines. */
function writeNothing(directory: string): string {
  const program = join(directory, "nothing.cjs");
  writeFileSync(program, "");
  return program;
}

/** As bin/flannel starts Node.js. */
function writeLauncher(directory: string, program: string): string {
  const launcher = join(directory, `launch-${basename(program)}`);
  writeFileSync(launcher, `#!/bin/sh\nexec '${process.execPath}' --no-warnings '${program}'\n`, {
    mode: 0o755,
  });
  return launcher;
}
