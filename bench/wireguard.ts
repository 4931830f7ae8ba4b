/**
 * The wireguard backend's own implementation between containers of two hosts, in turn with Debian's wireguard-go in its
 * place; and with another wireguard-go, if FLANNEL_BENCH_WIREGUARD_GO is the path of one.
 *
 *     container ── cni0 ── flannel-wg ── flanneld     ══ UDP ══ flanneld     ── flannel-wg ── cni0 ── container
 *     container ── cni0 ── wg…        ── wireguard-go ══ UDP ══ wireguard-go ── wg…        ── cni0 ── container
 */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BenchHost } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import type { NetworkKind } from "./support/etcd.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { addContainer, type Container, Site } from "./support/site.ts";
import { compileTools, type Ends, lossFreeRate, roundTripUs, tcp } from "./support/traffic.ts";
import { processorMs } from "./support/usage.ts";
import { waitFor } from "./support/wait.ts";

const SECONDS = 2;
const PORT = "51820";
const MTU_BYTES = "1420";
/** Path of another wireguard-go, for instance the newest. */
const OTHER = process.env.FLANNEL_BENCH_WIREGUARD_GO;

const BARS = {
  debian: { stream: 4, packets: 1, roundTripAboveUs: 20 },
  other: { stream: 1.5, processor: 0.5 },
};

const WIREGUARD: NetworkKind = {
  name: "wireguard",
  config:
    '{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"wireguard","Implementation":"userspace"}}',
  leaseOf() {
    throw new Error("peers without a host would need keys");
  },
};

/** One implementation between two hosts. */
interface Way {
  readonly name: "flanneld" | "wireguard-go" | "other wireguard-go";
  readonly ends: Ends;
  readonly pids: readonly number[];
}

/** What the turns found about one way. */
interface Samples {
  readonly stream: number[];
  readonly processor: number[];
  readonly packets: number[];
  readonly roundTrip: number[];
}

export const wireguard: Benchmark = {
  name: "wireguard",
  async run(context) {
    const { bed, turns, progress } = context;
    using tools = compileTools();
    await using stack = new AsyncDisposableStack();
    const prefix = await bed.etcd.networkOf(0, WIREGUARD);
    const sites: Site[] = [];
    for (let host = 0; host < 2; host++) {
      const site = stack.use(await Site.build(context, prefix));
      stack.defer(() => bed.etcd.remove(prefix, site.leaseKey));
      sites.push(site);
    }
    const [a, b] = sites as [Site, Site];
    const ways: Way[] = [
      {
        name: "flanneld",
        ends: { from: a.container, to: b.container, address: b.address },
        pids: [a.pid, b.pid],
      },
      await startGo(context, stack, "wireguard-go", "wireguard-go", "wgd"),
    ];
    if (OTHER !== undefined) ways.push(await startGo(context, stack, "other wireguard-go", OTHER, "wgo"));

    const found = ways.map((): Samples => ({ stream: [], processor: [], packets: [], roundTrip: [] }));
    for (const { ends } of ways) await tcp(ends, 1, []); // sessions are up, and what is hot is compiled
    for (let turn = 1; turn <= turns; turn++) {
      for (const [index, { name, ends, pids }] of ways.entries()) {
        progress(`${name}, turn ${turn} of ${turns}`);
        const samples = found[index]!;
        const usedMs = () => pids.reduce((sum, pid) => sum + processorMs(pid), 0);
        const beforeMs = usedMs();
        const { gbitPerSecond, gigabytes } = await tcp(ends, SECONDS, []);
        samples.stream.push(gbitPerSecond);
        samples.processor.push((usedMs() - beforeMs) / 1000 / gigabytes);
        samples.roundTrip.push(await roundTripUs(ends));
        samples.packets.push(await lossFreeRate(ends, tools.packets));
      }
    }
    return report(ways, found);
  },
};

/** Two hosts with this wireguard-go. UAPI sockets are named after the devices, so every device has its own name. */
async function startGo(
  { bed }: BenchContext,
  stack: AsyncDisposableStack,
  name: Way["name"],
  program: string,
  device: string,
): Promise<Way> {
  const hosts = [stack.use(await bed.host()), stack.use(await bed.host())] as const;
  const containers: Container[] = [];
  const pids: number[] = [];
  for (const [index, host] of hosts.entries()) {
    const child = host.spawn(program, ["-f", `${device}${index}`], { stdio: "ignore" });
    stack.defer(() => end(child));
    pids.push(child.pid!);
    const container = addContainer(host, { gateway: `10.77.${index}.1/24`, mtuBytes: MTU_BYTES });
    stack.defer(() => container.namespace[Symbol.dispose]());
    containers.push(container);
  }
  const keys = await Promise.all(hosts.map((host, index) => setKey(host, `${device}${index}`)));
  for (const [index, host] of hosts.entries()) {
    const own = `${device}${index}`;
    const peer = 1 - index;
    host.run(
      ...["wg", "set", own, "peer", keys[peer]!, "endpoint", `${hosts[peer]!.address}:${PORT}`],
      ...["allowed-ips", `10.77.${peer}.0/24`],
    );
    host.run("ip", "link", "set", own, "up", "mtu", MTU_BYTES);
    host.run("ip", "route", "add", `10.77.${peer}.0/24`, "dev", own);
  }
  const [from, to] = containers as [Container, Container];
  return { name, ends: { from: from.namespace, to: to.namespace, address: to.address }, pids };
}

/** Sets a new private key and the port; gives the public key. */
async function setKey(host: BenchHost, device: string): Promise<string> {
  const keyFile = join(host.directory, "key");
  writeFileSync(keyFile, host.run("wg", "genkey"), { mode: 0o600 });
  await waitFor(`the device ${device}`, () => {
    try {
      host.run("wg", "set", device, "private-key", keyFile, "listen-port", PORT);
      return true;
    } catch {
      return undefined; // is not there yet
    }
  });
  return host.run("wg", "show", device, "public-key").trim();
}

async function end(child: ChildProcess): Promise<void> {
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  await exit;
}

function report(ways: readonly Way[], found: readonly Samples[]): Measurement[] {
  const [own, debian, other] = found as [Samples, Samples, Samples | undefined];
  const each = (unit: string, pick: (samples: Samples) => readonly number[]): Measurement[] =>
    ways.map(({ name }, index) => {
      const samples = pick(found[index]!);
      return { measure: `  ${name}`, value: median(samples), unit, samples };
    });
  const versus = (what: string, value: (against: Samples) => number, toDebian: object, toOther: object) => [
    { measure: `${what} wireguard-go's`, value: value(debian), unit: "×", ...toDebian },
    ...(other === undefined
      ? []
      : [{ measure: `${what} the other wireguard-go's`, value: value(other), unit: "×", ...toOther }]),
  ];
  return [
    ...versus(
      "one TCP stream, of",
      (against) => ratio(own.stream, against.stream),
      { leastBar: BARS.debian.stream },
      { leastBar: BARS.other.stream },
    ),
    ...each("Gbit/s", ({ stream }) => stream),
    ...versus(
      "processor seconds per GB, of",
      (against) => ratio(own.processor, against.processor),
      {},
      { bar: BARS.other.processor },
    ),
    ...each("s", ({ processor }) => processor),
    ...versus(
      "64-byte packets without loss, of",
      (against) => ratio(own.packets, against.packets),
      { leastBar: BARS.debian.packets },
      {},
    ),
    ...each("1/s", ({ packets }) => packets),
    {
      measure: "round trip, idle, above wireguard-go's",
      value: median(own.roundTrip) - median(debian.roundTrip),
      unit: "µs",
      bar: BARS.debian.roundTripAboveUs,
    },
    ...each("µs", ({ roundTrip }) => roundTrip),
  ];
}

/** The median of the turns' ratios: what disturbs a turn disturbs both. */
const ratio = (values: readonly number[], others: readonly number[]): number =>
  median(values.map((value, turn) => value / others[turn]!));
