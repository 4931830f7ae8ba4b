/** Traffic between two namespaces, and what came of it; the programs for it are compiled on the spot. */

import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BenchHost, Namespace } from "./bed.ts";
import { median } from "./measurement.ts";
import { rest, waitFor } from "./wait.ts";

const BENCH = join(import.meta.dirname, "..");
const PORT = 8285;
const TUN = "flannel0";

/** Who sends, who receives, at which address. */
export interface Ends {
  readonly from: Namespace;
  readonly to: Namespace;
  readonly address: string;
}

/** Paths of bench/udp-loop.c, bench/udp-packets.c and bench/wireguard-flood.c, compiled. */
export function compileTools(): {
  readonly loop: string;
  readonly packets: string;
  readonly flood: string;
} & Disposable {
  const directory = mkdtempSync(join(tmpdir(), `flannel-bench-c-${process.pid}-`));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", remove);
  const compile = (name: string): string => {
    const program = join(directory, name);
    execFileSync("cc", ["-O2", "-o", program, join(BENCH, `${name}.c`)], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    return program;
  };
  return {
    loop: compile("udp-loop"),
    packets: compile("udp-packets"),
    flood: compile("wireguard-flood"),
    [Symbol.dispose]() {
      process.removeListener("exit", remove);
      remove();
    },
  };
}

/** How a host has its TUN device, which goes when flanneld stops. */
interface TunSetup {
  readonly address: string;
  readonly mtuBytes: string;
  readonly route: string;
}

/** Reads it from a host whose flanneld runs. */
export function tunSetupOf(host: BenchHost): TunSetup {
  const link = host.run("ip", "-o", "-4", "address", "show", "dev", TUN);
  const find = (text: string, pattern: RegExp): string => {
    const [, value] = pattern.exec(text) ?? [];
    if (value === undefined) throw new Error(`${TUN} has no ${pattern}: ${text}`);
    return value;
  };
  return {
    address: find(link, /inet (\S+)/),
    mtuBytes: find(host.run("ip", "-o", "link", "show", "dev", TUN), /mtu (\d+)/),
    route: find(host.run("ip", "-4", "route", "show", "dev", TUN), /^(\S+)/),
  };
}

/** The C loop on two hosts, with devices as their flannelds had them. */
export class UdpLoops implements AsyncDisposable {
  readonly #program: string;
  #running: ChildProcess[] = [];

  constructor(program: string) {
    this.#program = program;
  }

  get pids(): readonly number[] {
    return this.#running.map((child) => child.pid!);
  }

  async start(
    [a, aSetup]: readonly [BenchHost, TunSetup],
    [b, bSetup]: readonly [BenchHost, TunSetup],
  ): Promise<void> {
    for (const [host, peer, setup] of [
      [a, b, aSetup],
      [b, a, bSetup],
    ] as const) {
      const child = host.spawn(this.#program, [TUN, host.address, peer.address, String(PORT)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const kill = () => void child.kill("SIGKILL");
      process.once("exit", kill);
      child.once("exit", () => process.removeListener("exit", kill));
      this.#running.push(child);
      await once(child.stdout!, "data");
      host.run("ip", "address", "replace", setup.address, "dev", TUN);
      host.run("ip", "link", "set", TUN, "up", "mtu", setup.mtuBytes);
      host.run("ip", "route", "replace", setup.route, "dev", TUN);
    }
  }

  async stop(): Promise<void> {
    const ending = this.#running.map(async (child) => {
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
    });
    this.#running = [];
    await Promise.all(ending);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** One run of iperf3: what arrived, in both directions together. */
export async function tcp(
  { from, to, address }: Ends,
  seconds: number,
  args: readonly string[],
): Promise<{ readonly gbitPerSecond: number; readonly gigabytes: number }> {
  const server = to.spawn("iperf3", ["-s", "-1", "--forceflush"], { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(server, "exit");
  try {
    await once(server.stdout!, "data"); // "Server listening"
    server.stdout!.resume();
    const { end } = JSON.parse(
      await output(from, "iperf3", ["-c", address, "-t", String(seconds), "-J", ...args]),
    );
    const sums = [end.sum_received, end.sum_received_bidir_reverse].filter((sum) => sum !== undefined);
    const total = (name: string) => sums.reduce((sum, each) => sum + each[name], 0);
    return { gbitPerSecond: total("bits_per_second") / 1e9, gigabytes: total("bytes") / 1e9 };
  } finally {
    server.kill("SIGKILL");
    await exit;
  }
}

/** Median of 300 pings on an idle way, 5 ms apart. */
export async function roundTripUs({ from, address }: Ends): Promise<number> {
  await rest();
  const text = await output(from, "ping", ["-n", "-c", "300", "-i", "0.005", address]);
  return median([...text.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1000));
}

const PROBE_MS = 400;
const FIRST_RATE = 20_000;
const STEP = 1.06;
/** Tries at a rate: what disturbs one of them must not decide. */
const TRIES = 3;

/** The highest rate of 64-byte packets per second, to 6 %, of which in one try out of three not a single one is lost. */
export async function lossFreeRate(ends: Ends, program: string): Promise<number> {
  let good = 0;
  let bad = FIRST_RATE;
  while (await arrivesWhole(ends, program, bad)) {
    good = bad;
    bad *= 1.5;
  }
  while (bad / Math.max(good, 1) > STEP) {
    const rate = good === 0 ? bad / 2 : Math.sqrt(good * bad);
    if (await arrivesWhole(ends, program, rate)) good = rate;
    else bad = rate;
  }
  return good;
}

async function arrivesWhole(ends: Ends, program: string, rate: number): Promise<boolean> {
  for (let attempt = 0; attempt < TRIES; attempt++)
    if ((await lostAt(ends, program, rate)) === 0) return true;
  return false;
}

/** How many of the packets of a probe are lost. */
async function lostAt({ from, to, address }: Ends, program: string, rate: number): Promise<number> {
  const port = "7000";
  const receiver = to.spawn(program, ["receive", port], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  receiver.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const closed = once(receiver, "close");
  await waitFor("the receiver", () => (text.includes("ready") ? true : undefined));
  const sent = Number(
    await output(from, program, ["send", address, port, String(Math.round(rate)), String(PROBE_MS)]),
  );
  await new Promise((resolve) => setTimeout(resolve, 50)); // for what is still on the way
  receiver.kill("SIGTERM");
  await closed;
  return sent - Number(text.split("\n")[1]);
}

export async function output(netns: Namespace, program: string, args: readonly string[]): Promise<string> {
  const child = netns.spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: exit code ${code}: ${text.slice(-300)}`);
  return text;
}
