/** Resident memory once it has settled after the start, processor time until then, and processor time when idle. */

import { setTimeout as delay } from "node:timers/promises";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { PeerEntryCount } from "./support/kernel-events.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { privateMb, processorMs, residentMb } from "./support/usage.ts";
import { steady } from "./support/wait.ts";

/** Leases, and the bar for resident memory with them. */
const NETWORKS = [
  { count: 10, barMb: 75 },
  { count: 5_000, barMb: 100 },
];
const STEADY = { tolerance: 0.5, stableMs: 2_000, deadlineMs: 60_000 };
const IDLE_MS = 10_000;

export const memory: Benchmark = {
  name: "memory",
  async run(context) {
    const measurements: Measurement[] = [];
    for (const { count, barMb } of NETWORKS)
      measurements.push(...(await measureCount(context, count, barMb)));
    return measurements;
  },
};

async function measureCount(context: BenchContext, count: number, barMb: number): Promise<Measurement[]> {
  const resident: number[] = [];
  const own: number[] = [];
  const startMs: number[] = [];
  let idleMs = 0;
  for (let turn = 1; turn <= context.turns; turn++) {
    context.progress(`${count} leases, turn ${turn} of ${context.turns}`);
    const { bed, flanneld } = context;
    const prefix = await bed.etcd.networkOf(count);
    await using host = await bed.host();
    using entries = new PeerEntryCount(host.path, count);
    await using daemon = new Daemon(host, { flanneld, etcdEndpoint: bed.etcd.endpoint, prefix });
    await daemon.brings("the last entry", entries.all, 120_000);
    resident.push(
      await daemon.brings(
        "memory",
        steady("memory", () => residentMb(daemon.pid), STEADY),
        90_000,
      ),
    );
    own.push(privateMb(daemon.pid));
    startMs.push(processorMs(daemon.pid));
    if (turn === context.turns) {
      await delay(IDLE_MS);
      idleMs = (processorMs(daemon.pid) - startMs.at(-1)!) / (IDLE_MS / 1_000);
    }
    await daemon.stop("SIGTERM");
    await bed.etcd.remove(prefix, daemon.leaseKey());
  }
  const leases = `${count.toLocaleString("en-US")} leases`;
  return [
    {
      measure: `${leases}: resident memory`,
      value: median(resident),
      unit: "MB",
      bar: barMb,
      samples: resident,
    },
    {
      measure: `${leases}: of it its own, without pages of files`,
      value: median(own),
      unit: "MB",
      samples: own,
    },
    {
      measure: `${leases}: processor time of the start`,
      value: median(startMs),
      unit: "ms",
      samples: startMs,
    },
    { measure: `${leases}: processor time per second, idle`, value: idleMs, unit: "ms" },
  ];
}
