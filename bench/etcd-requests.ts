/** How many requests one host's start makes, as etcd itself counts them: the number must not depend on the leases. */

import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import type { Measurement } from "./support/measurement.ts";
import { steady } from "./support/wait.ts";

const COUNTS = [10, 5_000];
const BAR = 12;
const QUIET_MS = 1_000;

export const etcdRequests: Benchmark = {
  name: "etcd-requests",
  async run(context) {
    const measurements: Measurement[] = [];
    const firsts: number[] = [];
    for (const count of COUNTS) {
      context.progress(`${count} leases`);
      const { first, again } = await countRequests(context, count);
      firsts.push(first);
      const leases = `${count.toLocaleString("en-US")} leases`;
      measurements.push(
        { measure: `${leases}: requests of a first start`, value: first, unit: "", bar: BAR },
        { measure: `${leases}: requests of a restart`, value: again, unit: "", bar: BAR },
      );
    }
    const difference = Math.abs(firsts[1]! - firsts[0]!);
    measurements.push({
      measure: "difference that 4,990 more leases make",
      value: difference,
      unit: "",
      bar: 0,
    });
    return measurements;
  },
};

async function countRequests({ bed, flanneld, progress }: BenchContext, count: number) {
  const prefix = await bed.etcd.networkOf(count);
  await using host = await bed.host();
  const start = async (): Promise<{ readonly requests: number; readonly leaseKey: string }> => {
    const before = await bed.etcd.requests();
    await using daemon = new Daemon(host, {
      flanneld,
      etcdEndpoint: bed.etcd.endpoint,
      prefix,
      health: true,
    });
    await daemon.ready();
    const total = async () => sum((await bed.etcd.requests()).values());
    await daemon.brings("quiet", steady("requests", total, { stableMs: QUIET_MS }));
    const after = await bed.etcd.requests();
    const methods = [...after]
      .map(([method, number]) => [method, number - (before.get(method) ?? 0)] as const)
      .filter(([, number]) => number > 0);
    progress(`${methods.map(([method, number]) => `${number} ${method}`).join(", ")}`);
    const leaseKey = daemon.leaseKey();
    await daemon.stop("SIGTERM");
    return { requests: sum(methods.map(([, number]) => number)), leaseKey };
  };
  const first = await start();
  const again = await start();
  await bed.etcd.remove(prefix, again.leaseKey);
  return { first: first.requests, again: again.requests };
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, number) => total + number, 0);
