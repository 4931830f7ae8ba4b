/**
 * From the start of flanneld to the last of 5,000 host-gw routes, on a host that never ran it, beside the floor:
 * `ip -batch` with exactly the same routes in an equal namespace (W43).
 */

import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseIp } from "../src/address/ip.ts";
import { encodeLeaseValue } from "../src/lease/lease-codec.ts";
import { openRtnetlink } from "../src/linux/netlink-socket.ts";
import { RT_TABLE_MAIN } from "../src/netlink/route.ts";
import { RTPROT_FLANNEL } from "../src/state/objects.ts";
import type { BenchHost } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import type { NetworkKind } from "./support/etcd.ts";
import { PeerEntryCount } from "./support/kernel-events.ts";
import { median } from "./support/measurement.ts";
import { type Peer, peerAt } from "./support/peers.ts";

const PEERS = 5_000;
const FLOOR_RATIO_BAR = 2;
/** Where the public addresses of the made-up peers are. */
const PEER_LINK = "172.16.0.0/12";

const HOST_GW: NetworkKind = {
  name: "host-gw",
  config: '{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"host-gw"}}',
  leaseOf: ({ publicIp }: Peer) =>
    encodeLeaseValue({
      publicIp: parseIp(publicIp),
      publicIpv6: undefined,
      backendType: "host-gw",
      backendData: undefined,
      backendV6Data: undefined,
    }),
};

export const hostGw: Benchmark = {
  name: "host-gw",
  async run(context) {
    const lastRouteMs: number[] = [];
    const floorMs: number[] = [];
    for (let turn = 1; turn <= context.turns; turn++) {
      context.progress(`${PEERS} leases, turn ${turn} of ${context.turns}`);
      lastRouteMs.push(await startFlanneld(context));
      floorMs.push(await runBatch(context));
    }
    const leases = `${PEERS.toLocaleString("en-US")} host-gw leases`;
    const ratios = lastRouteMs.map((ms, turn) => ms / floorMs[turn]!);
    return [
      {
        measure: `${leases}: to the last route`,
        value: median(lastRouteMs),
        unit: "ms",
        floor: median(floorMs),
        samples: lastRouteMs,
      },
      {
        measure: `${leases}: to the last route ÷ floor`,
        value: median(ratios),
        unit: "×",
        bar: FLOOR_RATIO_BAR,
        samples: ratios,
      },
    ];
  },
};

async function startFlanneld({ bed, flanneld }: BenchContext): Promise<number> {
  const prefix = await bed.etcd.networkOf(PEERS, HOST_GW);
  await using host = await bed.host();
  host.run("ip", "route", "add", PEER_LINK, "dev", "eth0");
  using entries = new PeerEntryCount(host.path, PEERS);
  await using daemon = new Daemon(host, { flanneld, etcdEndpoint: bed.etcd.endpoint, prefix });
  const lastRoute = await daemon.brings("the last route", entries.routes, 120_000);
  expectRoutes(host);
  await daemon.brings("subnet.env", daemon.subnetEnvWritten); // by which its lease is found
  await daemon.stop("SIGTERM");
  await bed.etcd.remove(prefix, daemon.leaseKey());
  return lastRoute - daemon.startedMs;
}

async function runBatch({ bed }: BenchContext): Promise<number> {
  await using host = await bed.host();
  host.run("ip", "route", "add", PEER_LINK, "dev", "eth0");
  const path = join(host.directory, "routes");
  const lines = Array.from({ length: PEERS }, (_, index) => {
    const { subnet, publicIp } = peerAt(index);
    return `route replace ${subnet} via ${publicIp} dev eth0 proto ${RTPROT_FLANNEL}`;
  });
  writeFileSync(path, `${lines.join("\n")}\n`);
  // A subscriber costs the kernel a little: the same for both.
  using entries = new PeerEntryCount(host.path, PEERS);
  const startedMs = performance.now();
  const child = host.spawn("ip", ["-batch", path], { stdio: ["ignore", "ignore", "inherit"] });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`ip -batch failed: exit code ${code}`);
  const lastRoute = await entries.routes;
  expectRoutes(host);
  return lastRoute - startedMs;
}

function expectRoutes(host: BenchHost): void {
  using rtnetlink = openRtnetlink({ netns: host.path });
  const routes = rtnetlink.routes({ family: 4, table: RT_TABLE_MAIN, protocol: RTPROT_FLANNEL });
  if (routes.length !== PEERS) throw new Error(`the kernel holds ${routes.length} routes for ${PEERS} peers`);
}
