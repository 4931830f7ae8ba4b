/**
 * What the CNI plugin adds to the start of a container: ADD with a delegate that does nothing, less that delegate alone;
 * as it is started from bin/, and as a single executable. BENCH_CNI_PLUGIN=PATH measures another plugin (Go's, for instance)
 * in the same turns.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { rest } from "./support/wait.ts";

const ADD_BAR_MS = 90;
const ROUNDS_PER_TURN = 10;
const ROOT = join(import.meta.dirname, "..");

const SUBNET_ENV =
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
/** Reads its config and prints a result, by what the shell itself can do. */
const DELEGATE = `#!/bin/sh\nread -r config\necho '{"cniVersion":"1.0.0","ips":[{"address":"10.5.72.2/24"}]}'\n`;

interface Program {
  readonly name: string;
  readonly path: string;
  readonly bar?: number;
  readonly hasDelegate?: boolean;
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
  progress("building a single executable");
  const other = process.env.BENCH_CNI_PLUGIN;
  const programs: readonly Program[] = [
    { name: "CNI ADD without its delegate", path: join(ROOT, "bin/flannel"), bar: ADD_BAR_MS },
    { name: "the same as a single executable", path: buildExecutable(directory) },
    ...(other === undefined ? [] : [{ name: `the same by ${basename(other)}`, path: other }]),
    { name: "Node.js, doing nothing", path: writeNothing(directory), hasDelegate: false },
  ];
  const samples = programs.map((): number[] => []);
  for (let turn = 1; turn <= turns; turn++) {
    progress(`turn ${turn} of ${turns}`);
    await rest();
    for (let round = 0; round < ROUNDS_PER_TURN; round++) {
      const delegateMs = addMs(delegate, directory, round);
      programs.forEach(({ path, hasDelegate = true }, index) => {
        samples[index]!.push(addMs(path, directory, round) - (hasDelegate ? delegateMs : 0));
      });
    }
  }
  return programs.map(({ name, bar }, index) => ({
    measure: name,
    value: median(samples[index]!),
    unit: "ms",
    bar,
    samples: samples[index]!,
  }));
}

/** From before the start of the plugin until it has ended, for a container that is new each time. */
function addMs(program: string, directory: string, round: number): number {
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
      CNI_COMMAND: "ADD",
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

/** The bundle and Node.js in one file, with compiled code in it (nodejs.org/api/single-executable-applications.html). */
function buildExecutable(directory: string): string {
  const output = join(directory, "flannel-executable");
  const config = join(directory, "executable.json");
  const main = join(ROOT, "dist/flannel.cjs");
  writeFileSync(
    config,
    JSON.stringify({ main, output, disableExperimentalSEAWarning: true, useCodeCache: true }),
  );
  execFileSync(process.execPath, ["--build-sea", config], { stdio: ["ignore", "ignore", "inherit"] });
  return output;
}

/** A launcher like bin/flannel of a program without a line. */
function writeNothing(directory: string): string {
  const [program, launcher] = [join(directory, "nothing.cjs"), join(directory, "nothing")];
  writeFileSync(program, "");
  writeFileSync(launcher, `#!/bin/sh\nexec '${process.execPath}' '${program}'\n`, { mode: 0o755 });
  return launcher;
}
