/**
 * From the start of flanneld to subnet.env and to the last entry of the last peer (route, neighbour, FDB), on a host that
 * never ran it, beside the floor: `bridge -batch` and `ip -batch` with exactly the same entries, in an equal namespace
 * whose device is prepared.
 */

import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { runBatches } from "./support/floor.ts";
import { PeerEntryCount } from "./support/kernel-events.ts";
import { type Measurement, median } from "./support/measurement.ts";

const COUNTS = [10, 1_000, 5_000];
/** The bars are for the largest network. */
const BARRED_COUNT = 5_000;
const SUBNET_ENV_BAR_MS = 600;
const FLOOR_RATIO_BAR = 2;

export const start: Benchmark = {
  name: "start",
  async run(context) {
    const measurements: Measurement[] = [];
    for (const count of COUNTS) measurements.push(...(await measureCount(context, count)));
    return measurements;
  },
};

async function measureCount(context: BenchContext, count: number): Promise<Measurement[]> {
  const subnetEnvMs: number[] = [];
  const lastEntryMs: number[] = [];
  const floorMs: number[] = [];
  for (let turn = 1; turn <= context.turns; turn++) {
    context.progress(`${count} leases, turn ${turn} of ${context.turns}`);
    const measured = await startFlanneld(context, count);
    subnetEnvMs.push(measured.subnetEnvMs);
    lastEntryMs.push(measured.lastEntryMs);
    floorMs.push(await runBatches(context.bed, count));
  }
  const leases = `${count.toLocaleString("en-US")} leases`;
  const isBarred = count === BARRED_COUNT;
  const ratios = lastEntryMs.map((ms, turn) => ms / floorMs[turn]!);
  return [
    {
      measure: `${leases}: to subnet.env`,
      value: median(subnetEnvMs),
      unit: "ms",
      bar: isBarred ? SUBNET_ENV_BAR_MS : undefined,
      samples: subnetEnvMs,
    },
    {
      measure: `${leases}: to the last entry`,
      value: median(lastEntryMs),
      unit: "ms",
      floor: median(floorMs),
      samples: lastEntryMs,
    },
    {
      measure: `${leases}: to the last entry ÷ floor`,
      value: median(ratios),
      unit: "×",
      bar: isBarred ? FLOOR_RATIO_BAR : undefined,
      samples: ratios,
    },
  ];
}

async function startFlanneld({ bed, flanneld }: BenchContext, count: number) {
  const prefix = await bed.etcd.networkOf(count);
  await using host = await bed.host();
  using entries = new PeerEntryCount(host.path, count);
  await using daemon = new Daemon(host, { flanneld, etcdEndpoint: bed.etcd.endpoint, prefix });
  const [subnetEnv, lastEntry] = await Promise.all([
    daemon.brings("subnet.env", daemon.subnetEnvWritten),
    daemon.brings("the last entry", entries.all, 120_000),
  ]);
  host.expectComplete(count);
  await daemon.stop("SIGTERM");
  await bed.etcd.remove(prefix, daemon.leaseKey());
  return { subnetEnvMs: subnetEnv - daemon.startedMs, lastEntryMs: lastEntry - daemon.startedMs };
}
