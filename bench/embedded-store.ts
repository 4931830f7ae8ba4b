/**
 * The embedded store beside a real etcd, in alternating turns, each turn with fresh servers on the machine's disk:
 * hosts that register at once, notifications of watchers, a long listing, durable puts.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { startStoreProcess } from "../test/support/embedded.ts";
import { startEtcd } from "../test/support/etcd.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { type Measurement, median, quantile } from "./support/measurement.ts";
import {
  HOSTS,
  KEYS,
  listAll,
  notifyAll,
  putAlone,
  putMany,
  registerAll,
  registerPlainly,
  WATCHERS,
} from "./support/store-loads.ts";
import { rest } from "./support/wait.ts";

const BAR = 2;

/** On the disk of the machine, not in memory: durability is part of what is measured. */
const DISK = "/var/tmp";

/** The results of one server. */
interface Turn {
  readonly registerMs: number;
  readonly plainRegisterMs: number;
  readonly notifyP50Ms: number;
  readonly notifyP99Ms: number;
  readonly listMs: number;
  readonly putsPerSecond: number;
  readonly lonePutMs: number;
}

export const embeddedStore: Benchmark = {
  name: "embedded-store",
  async run(context) {
    const ours: Turn[] = [];
    const theirs: Turn[] = [];
    for (let turn = 0; turn < context.turns; turn++) {
      // The second one runs on a warm machine.
      const order = turn % 2 === 0 ? [ours, theirs] : [theirs, ours];
      for (const turns of order) {
        await rest();
        turns.push(await measure(context, turns === ours ? startOurs : startTheirs));
      }
    }
    return [
      ...compare(`${HOSTS} hosts register at once`, "registerMs", ours, theirs),
      ...compare("the same requests, no races, minimal client", "plainRegisterMs", ours, theirs),
      ...compare(`put to ${WATCHERS} watchers, p50`, "notifyP50Ms", ours, theirs, false),
      ...compare(`put to ${WATCHERS} watchers, p99`, "notifyP99Ms", ours, theirs),
      ...compare(`listing ${KEYS.toLocaleString("en-US")} keys`, "listMs", ours, theirs),
      ...compare("one durable put, alone", "lonePutMs", ours, theirs, false),
      ...rates("durable puts per second, 64 at a time", ours, theirs),
    ];
  },
};

type Server = AsyncDisposable & { readonly endpoint: string };

const startOurs = (): Promise<Server> => startOnDisk("store", startStoreProcess);

const startTheirs = (): Promise<Server> =>
  startOnDisk("etcd", (directory) =>
    startEtcd({
      flags: ["--data-dir", directory, "--heartbeat-interval", "100", "--election-timeout", "1000"],
    }),
  );

/** A server with a data directory of its own, which is removed with it. */
async function startOnDisk(name: string, start: (directory: string) => Promise<Server>): Promise<Server> {
  const directory = mkdtempSync(join(DISK, `flannel-bench-${name}-${process.pid}-`));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", remove);
  const server = await start(directory);
  return {
    endpoint: server.endpoint,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      process.removeListener("exit", remove);
      remove();
    },
  };
}

async function measure({ progress }: BenchContext, start: () => Promise<Server>): Promise<Turn> {
  await using server = await start();
  const name = start === startOurs ? "embedded" : "etcd";
  const step = async <T>(what: string, run: () => Promise<T>): Promise<T> => {
    progress(`${name}: ${what}`);
    return run();
  };
  const registerMs = await step("registering", () => registerAll(server.endpoint));
  const plainRegisterMs = await step("registering plainly", () => registerPlainly(server.endpoint));
  const notifyMs = await step("watchers", () => notifyAll(server.endpoint));
  const listMs = await step("listing", () => listAll(server.endpoint));
  const putsPerSecond = await step("puts", () => putMany(server.endpoint));
  const lonePutMs = await step("lone puts", () => putAlone(server.endpoint));
  return {
    registerMs,
    plainRegisterMs,
    notifyP50Ms: quantile(notifyMs, 0.5),
    notifyP99Ms: quantile(notifyMs, 0.99),
    listMs,
    putsPerSecond,
    lonePutMs,
  };
}

type TimeOf = Exclude<keyof Turn, "putsPerSecond">;

/** Our result and its ratio to etcd's: the median of the turns' ratios. */
function compare(
  what: string,
  name: TimeOf,
  ours: readonly Turn[],
  theirs: readonly Turn[],
  hasBar = true,
): Measurement[] {
  const samples = ours.map((turn) => turn[name]);
  const floors = theirs.map((turn) => turn[name]);
  const ratios = samples.map((sample, turn) => sample / floors[turn]!);
  return [
    { measure: what, value: median(samples), unit: "ms", floor: median(floors), samples },
    {
      measure: "  as a multiple of etcd's",
      value: median(ratios),
      unit: "×",
      bar: hasBar ? BAR : undefined,
      samples: ratios,
    },
  ];
}

function rates(what: string, ours: readonly Turn[], theirs: readonly Turn[]): Measurement[] {
  const samples = ours.map(({ putsPerSecond }) => putsPerSecond);
  const floor = median(theirs.map(({ putsPerSecond }) => putsPerSecond));
  return [{ measure: what, value: median(samples), unit: "/s", floor, samples }];
}
