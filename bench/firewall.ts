/**
 * The firewall while flanneld runs, with 1,000 peers: time to repair after a flush, cost while nothing happens, and
 * packets lost by a mode switch under traffic.
 *
 * The clock of a repair starts before the damaging program, and stops with the kernel's notification of
 * flanneld's transaction; for iptables-legacy, which has none, when the tables are equal to before.
 */

import { execFile, execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { concernsUs } from "../src/firewall/concern.ts";
import { withNetns } from "../src/linux/netns.ts";
import { openNftNotifications } from "../src/linux/notifications.ts";
import { digestXtables } from "../src/linux/xtables.ts";
import { nftNotices } from "../src/netlink/nfnetlink.ts";
import type { BenchHost } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { type CountedTools, countTools, type IptablesVariant } from "./support/firewall-tools.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { NETWORK_CONFIG } from "./support/peers.ts";
import { Ping, Site } from "./support/site.ts";
import { processorMs } from "./support/usage.ts";
import { steady, waitFor } from "./support/wait.ts";

const PEERS = 1_000;
const REPAIR_BAR_MS = 100;
/** The default of --iptables-resync. */
const RESYNC_MS = 5_000;
const MINUTE_MS = 60_000;
/** Longer than the resync: what the start had to look at twice is over then. */
const SETTLED_MS = 7_000;
const CPU_BAR_PERCENT = 0.5;
const SWITCHES = 6;
const FEW_PEERS = 12;
const MARGIN_REPLIES = 30;

interface Mode {
  readonly name: string;
  readonly isNftables: boolean;
  readonly variant: IptablesVariant;
  readonly damage: readonly string[];
  readonly repairBarMs: number;
  readonly processesBar: number;
}

const MODES: readonly Mode[] = [
  {
    name: "nftables",
    isNftables: true,
    variant: "nft",
    damage: ["nft flush ruleset"],
    repairBarMs: REPAIR_BAR_MS,
    processesBar: 0,
  },
  {
    name: "iptables-nft",
    isNftables: false,
    variant: "nft",
    damage: ["iptables-nft -F", "iptables-nft -t nat -F", "nft flush ruleset"],
    repairBarMs: REPAIR_BAR_MS,
    processesBar: 15,
  },
  {
    name: "iptables-legacy",
    isNftables: false,
    variant: "legacy",
    damage: ["iptables-legacy -F", "iptables-legacy -t nat -F"],
    repairBarMs: RESYNC_MS,
    processesBar: 15,
  },
];

export const firewall: Benchmark = {
  name: "firewall",
  async run(context) {
    const { turns, progress } = context;
    await using stack = new AsyncDisposableStack();
    const runs: Run[] = [];
    for (const [index, mode] of MODES.entries()) {
      // Another number of peers is another network: each mode has its own config.
      runs.push(stack.use(await Run.start(context, mode, PEERS + index)));
    }
    // All in the same minute: it is long, and none of them should do anything.
    progress("a minute of nothing");
    const measurements = (await Promise.all(runs.map((run) => run.idle()))).flat();
    for (const run of runs) {
      for (const damage of run.mode.damage) {
        progress(`${damage}, ${turns} times`);
        measurements.push(await run.repair(damage, turns));
      }
    }
    progress(`mode switched ${SWITCHES} times`);
    measurements.push(await switchUnderTraffic(context));
    return measurements;
  },
};

function writeConfig(prefix: string, isNftables: boolean): void {
  const config = { ...JSON.parse(NETWORK_CONFIG), EnableNFTables: isNftables };
  execFileSync("etcdctl", ["--endpoints=http://127.0.0.1:2379", "put", `${prefix}/config`], {
    input: JSON.stringify(config),
    env: { ...process.env, ETCDCTL_API: "3" },
    stdio: ["pipe", "ignore", "inherit"],
  });
}

/** A host with flanneld in one mode. */
class Run implements AsyncDisposable {
  readonly mode: Mode;
  readonly #host: BenchHost;
  readonly #tools: CountedTools;
  readonly #daemon: Daemon;

  static async start({ bed, flanneld }: BenchContext, mode: Mode, peers: number): Promise<Run> {
    const prefix = await bed.etcd.networkOf(peers);
    writeConfig(prefix, mode.isNftables);
    const host = await bed.host();
    const tools = countTools(host.directory, flanneld, mode.variant);
    const options = { flanneld: tools.launcher, etcdEndpoint: bed.etcd.endpoint, prefix, health: true };
    const run = new Run(mode, host, tools, new Daemon(host, options));
    await run.#daemon.ready();
    return run;
  }

  private constructor(mode: Mode, host: BenchHost, tools: CountedTools, daemon: Daemon) {
    this.mode = mode;
    this.#host = host;
    this.#tools = tools;
    this.#daemon = daemon;
  }

  /** Processes and processor time of a minute in which nothing happens. */
  async idle(): Promise<Measurement[]> {
    const { name, processesBar } = this.mode;
    await steady("processes", () => this.#tools.started().length, { stableMs: SETTLED_MS });
    const before = { processes: this.#tools.started().length, processorMs: processorMs(this.#daemon.pid) };
    await delay(MINUTE_MS);
    const processes = this.#tools.started().length - before.processes;
    const percent = ((processorMs(this.#daemon.pid) - before.processorMs) / MINUTE_MS) * 100;
    const what = `${name}, idle for a minute with 1,000 peers`;
    return [
      { measure: `${what}: processes started`, value: processes, unit: "", bar: processesBar },
      { measure: `${what}: processor`, value: percent, unit: "%", bar: CPU_BAR_PERCENT },
    ];
  }

  async repair(damage: string, turns: number): Promise<Measurement> {
    const samples: number[] = [];
    for (let turn = 1; turn <= turns; turn++) {
      const repair =
        this.mode.variant === "nft" ? this.#repaired.bind(this) : this.#repairedLegacy.bind(this);
      samples.push(await repair(damage));
      await this.#daemon.ready();
    }
    const measure = `${this.mode.name}: ${damage}: back, median of ${turns}`;
    return { measure, value: median(samples), unit: "ms", bar: this.mode.repairBarMs, samples };
  }

  /** Of the transactions that concern flannel's rules the first is the damage, the second the repair. */
  async #repaired(damage: string): Promise<number> {
    using source = openNftNotifications({ netns: this.#host.path });
    const second = (async () => {
      let count = 0;
      for await (const notices of nftNotices(source, concernsUs)) {
        count += notices.length;
        if (count >= 2) return performance.now();
      }
      throw new Error("the notifications ended");
    })();
    const startedMs = performance.now();
    const done = this.#run(damage);
    const repairedMs = await this.#daemon.brings(`a repair after ${damage}`, second);
    await done;
    return repairedMs - startedMs;
  }

  async #repairedLegacy(damage: string): Promise<number> {
    const digest = () => withNetns(this.#host.path, digestXtables);
    const right = digest();
    const startedMs = performance.now();
    await this.#run(damage);
    const isRight = waitFor(`a repair after ${damage}`, () => (digest() === right ? true : undefined));
    await this.#daemon.brings(`a repair after ${damage}`, isRight);
    return performance.now() - startedMs;
  }

  async #run(command: string): Promise<void> {
    const words = [`--net=${this.#host.path}`, ...command.split(" ")];
    const lock = { XTABLES_LOCKFILE: `${this.#host.directory}/xtables.lock` };
    await promisify(execFile)("nsenter", words, { env: { ...process.env, ...lock } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
    await this.#host[Symbol.asyncDispose]();
  }
}

/** From nftables to iptables and back by the network config, on hosts that forward nothing without flannel's rules. */
async function switchUnderTraffic(context: BenchContext): Promise<Measurement> {
  const prefix = await context.bed.etcd.networkOf(FEW_PEERS);
  writeConfig(prefix, true);
  await using a = await Site.build(context, prefix);
  await using b = await Site.build(context, prefix);
  for (const { host } of [a, b]) {
    host.run("iptables-nft", "-P", "FORWARD", "DROP");
    const isAccepted = () => host.run("iptables-nft", "-S", "FORWARD").includes("FLANNEL-FWD");
    await waitFor("the accepts where the drop is", () => (isAccepted() ? true : undefined));
  }
  using ping = new Ping(a.container, b.address);
  await ping.replies(MARGIN_REPLIES);
  for (let count = 1; count <= SWITCHES; count++) {
    const isNftables = count % 2 === 0;
    writeConfig(prefix, isNftables);
    for (const { host } of [a, b]) {
      const hasTable = () => host.run("nft", "list", "tables").includes("flannel-ipv4");
      await waitFor("the other mode", () => (hasTable() === isNftables ? true : undefined));
    }
    await ping.replies(MARGIN_REPLIES);
  }
  const sent = ping.highest.toLocaleString("en-US");
  return {
    measure: `mode switched ${SWITCHES} times: lost of ${sent} packets`,
    value: ping.lost,
    unit: "",
    bar: 0,
  };
}
