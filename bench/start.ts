/**
 * From the start of flanneld to subnet.env and to the last entry of the last peer (route, neighbour, FDB), on a host that
 * never ran it, beside the floor: `bridge -batch` and `ip -batch` with exactly the same entries, in an equal namespace
 * whose device is prepared.
 */

import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BenchHost } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { PeerEntryCount } from "./support/kernel-events.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { DEVICE, peerAt } from "./support/peers.ts";

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
    floorMs.push(await runBatches(context, count));
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

async function runBatches({ bed }: BenchContext, count: number): Promise<number> {
  await using host = await bed.host();
  prepareDevice(host);
  const [fdb, addresses] = writeBatches(host, count);
  // Whoever listens costs the kernel a little: the same here as there.
  using entries = new PeerEntryCount(host.path, count);
  const startedMs = performance.now();
  const child = host.spawn("sh", ["-c", `bridge -batch '${fdb}' && ip -batch '${addresses}'`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`bridge -batch or ip -batch failed: exit code ${code}`);
  const lastEntryMs = await entries.all;
  host.expectComplete(count);
  return lastEntryMs - startedMs;
}

function prepareDevice(host: BenchHost): void {
  const vxlan = ["id", "1", "local", host.address, "dev", "eth0", "dstport", "8472", "nolearning"];
  host.run("ip", "link", "add", DEVICE, "type", "vxlan", ...vxlan);
  host.run("ip", "address", "add", "10.0.1.0/32", "dev", DEVICE);
  host.run("ip", "link", "set", DEVICE, "up");
}

function writeBatches(host: BenchHost, count: number): [fdb: string, addresses: string] {
  const peers = Array.from({ length: count }, (_, index) => peerAt(index));
  const write = (name: string, lines: string[]): string => {
    const path = join(host.directory, name);
    writeFileSync(path, `${lines.join("\n")}\n`);
    return path;
  };
  return [
    write(
      "fdb",
      peers.map(({ mac, publicIp }) => `fdb replace ${mac} dev ${DEVICE} dst ${publicIp} self permanent`),
    ),
    write("addresses", [
      ...peers.map(({ vtep, mac }) => `neigh replace ${vtep} lladdr ${mac} dev ${DEVICE} nud permanent`),
      ...peers.map(({ subnet, vtep }) => `route replace ${subnet} via ${vtep} dev ${DEVICE} onlink proto 70`),
    ]),
  ];
}
