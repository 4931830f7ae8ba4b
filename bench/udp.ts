/**
 * The udp backend's data path between containers of two hosts, in turn with: itself without offloads, the plain C loop
 * (bench/udp-loop.c: the same device, routes and wire format, one packet per system call), the kernel's VXLAN, and the
 * bare link between the hosts.
 *
 *     container ── cni0 ── flannel0 ── flanneld ══ UDP ══ flanneld ── flannel0 ── cni0 ── container
 */

import { parseIp } from "../src/address/ip.ts";
import { encodeLeaseValue } from "../src/lease/lease-codec.ts";
import type { Benchmark } from "./support/benchmark.ts";
import type { NetworkKind } from "./support/etcd.ts";
import { type Measurement, median } from "./support/measurement.ts";
import type { Peer } from "./support/peers.ts";
import { Site } from "./support/site.ts";
import {
  compileTools,
  type Ends,
  lossFreeRate,
  roundTripUs,
  tcp,
  tunSetupOf,
  UdpLoops,
} from "./support/traffic.ts";
import { privateMb, processorMs, residentMb } from "./support/usage.ts";
import { steady } from "./support/wait.ts";

const PEERS = 5_000;
const SECONDS = 2;
const STREAMS = 8;
/** Pairs of streams, with one peer and with many, in a turn. */
const PEER_PAIRS = 5;

const BARS = {
  streamToC: 5,
  streamToVxlan: 0.4,
  manyToC: 4,
  processorToC: 0.25,
  packetsToC: 1.2,
  roundTripAboveC: 30,
  manyPeers: 0.97,
  memoryMb: 15,
};

export const UDP: NetworkKind = {
  name: "udp",
  config: '{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"udp"}}',
  leaseOf: ({ publicIp }: Peer) =>
    encodeLeaseValue({
      publicIp: parseIp(publicIp),
      publicIpv6: undefined,
      backendType: "",
      backendData: undefined,
      backendV6Data: undefined,
    }),
};

/** One way between two hosts; `enter` makes it the one in use. */
interface Way {
  readonly name: "udp" | "off" | "c" | "vxlan" | "link" | "peers";
  readonly ends: Ends;
  enter(): Promise<void>;
  /** The processes that move its packets; none for the kernel's. */
  pids(): readonly number[];
}

/** Of each way, one number per turn. */
type Samples = Record<Way["name"], number[]>;
const samples = (): Samples => ({ udp: [], off: [], c: [], vxlan: [], link: [], peers: [] });

export const udp: Benchmark = {
  name: "udp",
  async run(context) {
    const { bed, turns, progress } = context;
    using tools = compileTools();
    const udpPrefix = await bed.etcd.networkOf(0, UDP);
    const pairs = [udpPrefix, await bed.etcd.networkOf(PEERS, UDP), await bed.etcd.networkOf(0)];
    await using stack = new AsyncDisposableStack();
    const sites: (readonly [Site, Site])[] = [];
    for (const prefix of pairs) {
      const pair = [
        stack.use(await Site.build(context, prefix)),
        stack.use(await Site.build(context, prefix)),
      ] as const;
      stack.defer(async () => {
        for (const site of pair) await bed.etcd.remove(prefix, site.leaseKey);
      });
      sites.push(pair);
    }
    const loops = stack.use(new UdpLoops(tools.loop));
    const ways = waysOf(sites[0]!, sites[1]!, sites[2]!, loops);
    const [one, many, both, processor, roundTrip, packets] = Array.from({ length: 6 }, samples) as [
      Samples,
      Samples,
      Samples,
      Samples,
      Samples,
      Samples,
    ];
    const ownMb: number[] = [];
    const residentMbs: number[] = [];
    const busyMbs: number[] = [];
    const peerRatios: number[] = [];
    for (let turn = 1; turn <= turns; turn++) {
      for (const way of ways.slice(0, -1)) {
        progress(`${way.name}, turn ${turn} of ${turns}`);
        await way.enter();
        const { name, ends } = way;
        const before = usedMs(way);
        const { gbitPerSecond, gigabytes } = await tcp(ends, SECONDS, []);
        one[name].push(gbitPerSecond);
        processor[name].push((usedMs(way) - before) / 1000 / gigabytes);
        // Only now, when what is hot is compiled: daemons run for months.
        roundTrip[name].push(await roundTripUs(ends));
        if (name === "link") continue;
        many[name].push((await tcp(ends, SECONDS, ["-P", String(STREAMS)])).gbitPerSecond);
        both[name].push((await tcp(ends, SECONDS, ["--bidir"])).gbitPerSecond);
        if (name === "udp" || name === "c") packets[name].push(await lossFreeRate(ends, tools.packets));
        if (name !== "udp") continue;
        const [pid, vxlanPid] = [sites[0]![0].pid, sites[2]![0].pid];
        busyMbs.push(residentMb(pid) - residentMb(vxlanPid));
        ownMb.push(await memoryAboveMb(privateMb, pid, vxlanPid));
        residentMbs.push(await memoryAboveMb(residentMb, pid, vxlanPid));
      }
      progress(`${PEERS} peers and none, turn ${turn} of ${turns}`);
      await ways[0]!.enter();
      peerRatios.push(await manyPeersRatio(ways.at(-1)!.ends, ways[0]!.ends));
    }
    return [
      ...throughput("one TCP stream", one, BARS.streamToC, BARS.streamToVxlan),
      ...throughput(`${STREAMS} TCP streams`, many, BARS.manyToC),
      ...throughput("one stream each way", both, BARS.manyToC),
      {
        measure: "processor seconds per GB, of the C loop's",
        value: ratio(processor.udp, processor.c),
        unit: "×",
        bar: BARS.processorToC,
      },
      { measure: "  udp", value: median(processor.udp), unit: "s", samples: processor.udp },
      { measure: "  C loop", value: median(processor.c), unit: "s", samples: processor.c },
      {
        measure: "64-byte packets without loss, of the C loop's",
        value: ratio(packets.udp, packets.c),
        unit: "×",
        leastBar: BARS.packetsToC,
      },
      { measure: "  udp", value: median(packets.udp), unit: "1/s", samples: packets.udp },
      { measure: "  C loop", value: median(packets.c), unit: "1/s", samples: packets.c },
      {
        measure: "round trip, idle, above the C loop's",
        value: median(roundTrip.udp) - median(roundTrip.c),
        unit: "µs",
        bar: BARS.roundTripAboveC,
      },
      ...(["udp", "c", "vxlan", "link"] as const).map((name) => ({
        measure: `  ${name}`,
        value: median(roundTrip[name]),
        unit: "µs",
        samples: roundTrip[name],
      })),
      {
        measure: `one stream with ${PEERS.toLocaleString("en-US")} peers, of that with one`,
        value: median(peerRatios),
        unit: "×",
        leastBar: BARS.manyPeers,
        samples: peerRatios,
      },
      {
        measure: "memory of its own after all this, above a vxlan agent's",
        value: median(ownMb),
        unit: "MB",
        bar: BARS.memoryMb,
        samples: ownMb,
      },
      {
        measure: "resident memory (with pages of the executable), above",
        value: median(residentMbs),
        unit: "MB",
        bar: BARS.memoryMb,
        samples: residentMbs,
      },
      {
        measure: "  before the pause in which it gives memory back",
        value: median(busyMbs),
        unit: "MB",
        samples: busyMbs,
      },
    ];
  },
};

function waysOf(
  [a, b]: readonly [Site, Site],
  [manyA, manyB]: readonly [Site, Site],
  [vxlanA, vxlanB]: readonly [Site, Site],
  loops: UdpLoops,
): readonly Way[] {
  let running: "on" | "off" | "c" = "on";
  const become = async (next: typeof running): Promise<void> => {
    if (next === running) return;
    const setups = next === "c" ? ([tunSetupOf(a.host), tunSetupOf(b.host)] as const) : undefined;
    if (running === "c") await loops.stop();
    else await Promise.all([a.stop(), b.stop()]);
    running = next;
    const args = next === "off" ? ["--udp-offloads=false"] : [];
    if (setups !== undefined) await loops.start([a.host, setups[0]], [b.host, setups[1]]);
    else await Promise.all([a.start(args), b.start(args)]);
  };
  const containers = (from: Site, to: Site): Ends => ({
    from: from.container,
    to: to.container,
    address: to.address,
  });
  const flannelds = () => [a.pid, b.pid];
  return [
    { name: "udp", ends: containers(a, b), enter: () => become("on"), pids: flannelds },
    { name: "c", ends: containers(a, b), enter: () => become("c"), pids: () => loops.pids },
    { name: "vxlan", ends: containers(vxlanA, vxlanB), enter: async () => {}, pids: () => [] },
    {
      name: "link",
      ends: { from: vxlanA.host, to: vxlanB.host, address: vxlanB.host.address },
      enter: async () => {},
      pids: () => [],
    },
    { name: "off", ends: containers(a, b), enter: () => become("off"), pids: flannelds },
    { name: "peers", ends: containers(manyA, manyB), enter: async () => {}, pids: () => [] },
  ];
}

const memoryAboveMb = (memoryMb: (pid: number) => number, pid: number, otherPid: number): Promise<number> =>
  steady("memory", () => memoryMb(pid) - memoryMb(otherPid), { tolerance: 0.3, stableMs: 1_500 });

/** Throughput with many peers of that with one: short streams in quick turns, as the difference is small. */
async function manyPeersRatio(many: Ends, one: Ends): Promise<number> {
  const ratios: number[] = [];
  for (let pair = 0; pair < PEER_PAIRS; pair++) {
    const [first, second] = pair % 2 === 0 ? [many, one] : [one, many];
    const [a, b] = [await tcp(first, 1, []), await tcp(second, 1, [])];
    ratios.push(pair % 2 === 0 ? a.gbitPerSecond / b.gbitPerSecond : b.gbitPerSecond / a.gbitPerSecond);
  }
  return median(ratios);
}

const usedMs = (way: Way): number => way.pids().reduce((sum, pid) => sum + processorMs(pid), 0);

/** The median of the turns' ratios: what disturbs a turn disturbs both. */
const ratio = (values: readonly number[], others: readonly number[]): number =>
  median(values.map((value, turn) => value / others[turn]!));

function throughput(what: string, rates: Samples, toC: number, toVxlan?: number): Measurement[] {
  const names = (["udp", "off", "c", "vxlan", "link"] as const).filter((name) => rates[name].length > 0);
  const label = {
    udp: "udp",
    off: "udp without offloads",
    c: "C loop",
    vxlan: "kernel VXLAN",
    link: "bare link",
  };
  return [
    { measure: `${what}, of the C loop's`, value: ratio(rates.udp, rates.c), unit: "×", leastBar: toC },
    {
      measure: `${what}, of VXLAN's`,
      value: ratio(rates.udp, rates.vxlan),
      unit: "×",
      leastBar: toVxlan,
    },
    ...names.map((name) => ({
      measure: `  ${label[name]}`,
      value: median(rates[name]),
      unit: "Gbit/s",
      samples: rates[name],
    })),
  ];
}
