/**
 * Probes of flanneld among made-up peers: how soon it notices that one of them closed its VXLAN port, and that it opened it
 * again; what probing costs in processor time, packets and memory, against a flanneld that does not probe. One other host
 * answers for all peers: it has their public IPs and VTEP addresses, and takes packets for any MAC.
 *
 *     host: flanneld, flannel.1 10.0.x.0 ══ bridge ══ answering host: 172.16.0.0/12, vx0 10.1.0.0 and above
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { askDaemonText } from "../src/status/status-client.ts";
import type { BenchHost } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { DEVICE, peerAt } from "./support/peers.ts";
import { privateMb, processorMs } from "./support/usage.ts";
import { waitFor } from "./support/wait.ts";

/** Peers, and the bars in seconds, packets a second and percent of a core. */
const NETWORKS = [
  { count: 100, noticeBarS: 3, packetsBar: undefined, coreBar: undefined, memoryBarMb: undefined },
  { count: 1_000, noticeBarS: undefined, packetsBar: 20, coreBar: 0.3, memoryBarMb: undefined },
  { count: 5_000, noticeBarS: 30, packetsBar: undefined, coreBar: undefined, memoryBarMb: 10 },
];
const MEASURED_MS = 20_000;
/** Until the full sizes are known, too. */
const SETTLE_DEADLINE_MS = 180_000;

export const probes: Benchmark = {
  name: "probes",
  async run(context) {
    const measurements: Measurement[] = [];
    for (const network of NETWORKS) measurements.push(...(await measureNetwork(context, network)));
    return measurements;
  },
};

async function measureNetwork(
  { bed, flanneld, turns, progress }: BenchContext,
  { count, noticeBarS, packetsBar, coreBar, memoryBarMb }: (typeof NETWORKS)[number],
): Promise<Measurement[]> {
  const prefix = await bed.etcd.networkOf(count);
  const name = `${count.toLocaleString("en-US")} peers`;
  await using host = await bed.host();
  await using answering = await bed.host();
  const options = { flanneld, etcdEndpoint: bed.etcd.endpoint, prefix, health: true };
  answerForAll(answering);
  host.run("ip", "route", "add", "172.16.0.0/12", "via", answering.address);

  progress(`${name}: without probes`);
  const off = await runIdle(host, { ...options, args: ["--probe-interval=off"] }, async (daemon) => {
    await daemon.ready();
    await delay(5_000);
  });
  progress(`${name}: with probes`);
  const notices: number[] = [];
  const recoveries: number[] = [];
  const on = await runIdle(
    host,
    options,
    async (daemon) => {
      await daemon.ready();
      routeBack(answering, host, daemon);
      await waitFor("all peers reachable", async () => (await reachable(host)) === count || undefined, {
        deadlineMs: SETTLE_DEADLINE_MS,
        intervalMs: 500,
      });
      await delay(5_000);
    },
    async () => {
      for (let turn = 0; turn < turns; turn++) {
        const { publicIp, key } = peerAt(Math.floor((count * (turn + 0.5)) / turns));
        await delay(Math.random() * 3_000);
        progress(`${name}: ${publicIp} closes its port, turn ${turn + 1} of ${turns}`);
        notices.push(
          await timeUntil(host, `Peer ${key} is unreachable`, () =>
            answering.run("nft", `add element inet t closed { ${publicIp} }`),
          ),
        );
        recoveries.push(
          await timeUntil(host, `Peer ${key} is reachable again`, () =>
            answering.run("nft", `delete element inet t closed { ${publicIp} }`),
          ),
        );
      }
    },
  );
  await bed.etcd.remove(prefix, on.leaseKey);
  const worst = (samples: readonly number[]) => ({ value: Math.max(...samples), unit: "s", samples });
  return [
    { measure: `${name}: a closed port is logged, longest of ${turns}`, ...worst(notices), bar: noticeBarS },
    { measure: `${name}: its end is logged, longest of ${turns}`, ...worst(recoveries), bar: noticeBarS },
    { measure: `${name}: packets a second`, value: on.packets, unit: "", bar: packetsBar },
    {
      measure: `${name}: processor for probes`,
      value: on.core - off.core,
      unit: "% of a core",
      bar: coreBar,
    },
    { measure: `${name}: own memory for probes`, value: on.ownMb - off.ownMb, unit: "MB", bar: memoryBarMb },
  ];
}

/** What flanneld takes while nothing happens, after `prepare`; `then` runs before it is stopped. */
async function runIdle(
  host: BenchHost,
  options: ConstructorParameters<typeof Daemon>[1],
  prepare: (daemon: Daemon) => Promise<void>,
  then: () => Promise<void> = async () => {},
) {
  await using daemon = new Daemon(host, options);
  await prepare(daemon);
  const before = { ms: processorMs(daemon.pid), sent: await sentPackets(host) };
  await delay(MEASURED_MS);
  const ms = processorMs(daemon.pid) - before.ms;
  const samples = [];
  for (let sample = 0; sample < 5; sample++) {
    samples.push(privateMb(daemon.pid));
    await delay(200);
  }
  const packets = ((await sentPackets(host)) - before.sent) / ((MEASURED_MS + 1_000) / 1_000);
  await then();
  return {
    ...{ core: (ms / MEASURED_MS) * 100, packets, ownMb: median(samples), leaseKey: daemon.leaseKey() },
  };
}

const metricOf = async (host: BenchHost, name: string): Promise<number> => {
  const text = await askDaemonText(join(host.directory, "flanneld.sock"), "/metrics");
  const line = text.split("\n").find((each) => each.startsWith(`${name} `));
  return line === undefined ? 0 : Number(line.split(" ").at(-1));
};
const sentPackets = (host: BenchHost) => metricOf(host, "flannel_probe_packets_total");
const reachable = (host: BenchHost) => metricOf(host, 'flannel_probe_peers{verdict="reachable"}');

/** Seconds from the change until the log has the text once more. */
async function timeUntil(host: BenchHost, text: string, change: () => void): Promise<number> {
  const path = join(host.directory, "flanneld.log");
  const times = () => readFileSync(path, "utf8").split(text).length;
  const before = times();
  change();
  const startedMs = performance.now();
  await waitFor(text, () => times() > before || undefined, { deadlineMs: 120_000, intervalMs: 20 });
  return (performance.now() - startedMs) / 1_000;
}

/** Makes the host answer at the public IP and the VTEP address of every peer. */
function answerForAll(host: BenchHost): void {
  host.run("ip", "route", "add", "local", "172.16.0.0/12", "dev", "lo");
  const vxlan = ["id", "1", "dstport", "8472", "local", host.address, "nolearning"];
  host.run("ip", "link", "add", "vx0", "mtu", "1450", "type", "vxlan", ...vxlan);
  host.run("ip", "link", "set", "vx0", "up");
  // 10.1.0.0 to 10.31.255.255: the rest is the host's under test.
  for (const prefix of ["10.1.0.0/16", "10.2.0.0/15", "10.4.0.0/14", "10.8.0.0/13", "10.16.0.0/12"])
    host.run("ip", "route", "add", "local", prefix, "dev", "lo");
  host.run(
    "nft",
    [
      "add table netdev t",
      "add chain netdev t any { type filter hook ingress device vx0 priority 0; }",
      "add rule netdev t any meta pkttype set host",
      "add table inet t",
      "add set inet t closed { type ipv4_addr; }",
      "add chain inet t input { type filter hook input priority 0; }",
      "add rule inet t input udp dport 8472 ip daddr @closed drop",
    ].join("; "),
  );
}

/** Leads the answers of the peers' VTEPs to the host under test. */
function routeBack(answering: BenchHost, host: BenchHost, daemon: Daemon): void {
  const subnet = daemon.leaseKey().replace("-", "/");
  const vtep = subnet.split("/")[0]!;
  const mac = /link\/ether (\S+)/.exec(host.run("ip", "link", "show", DEVICE))![1]!;
  answering.run("ip", "route", "replace", subnet, "via", vtep, "dev", "vx0", "onlink");
  answering.run("ip", "neighbour", "replace", vtep, "lladdr", mac, "dev", "vx0", "nud", "permanent");
  answering.run("bridge", "fdb", "replace", mac, "dev", "vx0", "dst", host.address);
}
