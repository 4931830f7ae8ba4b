/**
 * flanneld's start in a cluster of 5,000 nodes of 8 KB: to subnet.env, to the last entry of the last peer (route,
 * neighbour, FDB), and from the moment the API server has sent the last byte of the listing to the last entry,
 * beside the floor: `bridge -batch` and `ip -batch` with exactly the same entries.
 */

import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { runBatches } from "./support/floor.ts";
import { PeerEntryCount } from "./support/kernel-events.ts";
import { BenchKube } from "./support/kube.ts";
import { type Measurement, median } from "./support/measurement.ts";

const NODES = 5_000;
const NODE = "node-under-test";
const POD_CIDR = "10.0.1.0/24";
const FLOOR_RATIO_BAR = 2.5;

export const kubeStart: Benchmark = {
  name: "kube-start",
  async run(context) {
    const { bed, turns, progress } = context;
    await using kube = await BenchKube.start(bed.address);
    await kube.call("addPeers", 0, NODES);
    const subnetEnvMs: number[] = [];
    const lastEntryMs: number[] = [];
    const afterListMs: number[] = [];
    const floorMs: number[] = [];
    for (let turn = 1; turn <= turns; turn++) {
      progress(`${NODES} nodes, turn ${turn} of ${turns}`);
      const measured = await startFlanneld(context, kube);
      subnetEnvMs.push(measured.subnetEnvMs);
      lastEntryMs.push(measured.lastEntryMs);
      afterListMs.push(measured.afterListMs);
      floorMs.push(await runBatches(bed, NODES));
    }
    const nodes = `${NODES.toLocaleString("en-US")} nodes`;
    const ratios = afterListMs.map((ms, turn) => ms / floorMs[turn]!);
    const inMs = (measure: string, samples: number[]): Measurement => ({
      measure: `${nodes}: ${measure}`,
      value: median(samples),
      unit: "ms",
      samples,
    });
    return [
      inMs("to subnet.env", subnetEnvMs),
      inMs("to the last entry", lastEntryMs),
      { ...inMs("from the listing's end to the last entry", afterListMs), floor: median(floorMs) },
      {
        measure: `${nodes}: from the listing's end to the last entry ÷ floor`,
        value: median(ratios),
        unit: "×",
        bar: FLOOR_RATIO_BAR,
        samples: ratios,
      },
    ];
  },
};

async function startFlanneld({ bed, flanneld }: BenchContext, kube: BenchKube) {
  await kube.call("addNode", NODE, POD_CIDR);
  await using host = await bed.host();
  using entries = new PeerEntryCount(host.path, NODES);
  await using daemon = new Daemon(host, { flanneld, pod: kube.pod(NODE) });
  const [subnetEnv, lastEntry] = await Promise.all([
    daemon.brings("subnet.env", daemon.subnetEnvWritten),
    daemon.brings("the last entry", entries.all, 120_000),
  ]);
  host.expectComplete(NODES);
  const listedAtMs = (await kube.call("listedAtMs")) - performance.timeOrigin;
  await daemon.stop("SIGTERM");
  return {
    subnetEnvMs: subnetEnv - daemon.startedMs,
    lastEntryMs: lastEntry - daemon.startedMs,
    afterListMs: lastEntry - listedAtMs,
  };
}
