/**
 * How fast deleted objects are restored, with 1,000 peers: a route, a neighbour, an FDB entry; the device, with which
 * the kernel drops them all. The clock starts before the deletion.
 */

import { openRtnetlink } from "../src/linux/netlink-socket.ts";
import { deleteLink } from "../src/netlink/link.ts";
import type { NetlinkRequest } from "../src/netlink/message.ts";
import { deleteFdbEntry, deleteNeighbour } from "../src/netlink/neighbour.ts";
import { deleteRoute } from "../src/netlink/route.ts";
import type { BenchHost } from "./support/bed.ts";
import type { Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { appears, KernelEvents, PeerEntryCount } from "./support/kernel-events.ts";
import { type Measurement, median } from "./support/measurement.ts";
import { DEVICE, type Peer, peerAt } from "./support/peers.ts";

const PEERS = 1_000;
const SAMPLES = 20;
const ENTRY_BAR_MS = 50;
const DEVICE_BAR_MS = 1_000;

type Part = keyof typeof appears;
const NAMES: Readonly<Record<Part, string>> = { route: "route", neighbour: "neighbour", fdb: "FDB entry" };

export const repair: Benchmark = {
  name: "repair",
  async run({ bed, flanneld, turns, progress }) {
    const prefix = await bed.etcd.networkOf(PEERS);
    await using host = await bed.host();
    await using daemon = new Daemon(host, {
      flanneld,
      etcdEndpoint: bed.etcd.endpoint,
      prefix,
      health: true,
    });
    await daemon.ready();
    const measurements: Measurement[] = [];
    for (const part of Object.keys(NAMES) as Part[]) {
      progress(`${NAMES[part]}, ${SAMPLES} times`);
      measurements.push(...(await repairEntries(host, daemon, part)));
    }
    const deviceMs: number[] = [];
    for (let turn = 1; turn <= turns; turn++) {
      progress(`device, turn ${turn} of ${turns}`);
      using entries = new PeerEntryCount(host.path, PEERS);
      using rtnetlink = openRtnetlink({ netns: host.path });
      const startedMs = performance.now();
      rtnetlink.connection.request(deleteLink(DEVICE));
      deviceMs.push((await daemon.brings("all entries again", entries.all)) - startedMs);
      host.expectComplete(PEERS);
      await daemon.ready();
    }
    measurements.push(...summarize("device deleted: all 1,000 peers back", deviceMs, DEVICE_BAR_MS));
    await daemon.stop("SIGTERM");
    await bed.etcd.remove(prefix, daemon.leaseKey());
    return measurements;
  },
};

async function repairEntries(host: BenchHost, daemon: Daemon, part: Part): Promise<Measurement[]> {
  using rtnetlink = openRtnetlink({ netns: host.path });
  const ifindex = rtnetlink.linkByName(DEVICE)!.index;
  using events = new KernelEvents(host.path);
  const samples: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const peer = peerAt(Math.floor((sample * PEERS) / SAMPLES));
    const back = events.next(appears[part](peer));
    const startedMs = performance.now();
    rtnetlink.connection.request(deletionOf(part, peer, ifindex));
    samples.push((await daemon.brings(`the ${NAMES[part]} again`, back)) - startedMs);
  }
  return summarize(`${NAMES[part]} deleted: back`, samples, ENTRY_BAR_MS);
}

function deletionOf(part: Part, peer: Peer, ifindex: number): NetlinkRequest {
  switch (part) {
    case "route":
      return deleteRoute({ destination: peer.subnet, oif: ifindex });
    case "neighbour":
      return deleteNeighbour({ ifindex, address: peer.vtep, mac: peer.mac });
    case "fdb":
      return deleteFdbEntry({ ifindex, mac: peer.mac, destination: peer.publicIp });
  }
}

const summarize = (measure: string, samples: readonly number[], bar: number): Measurement[] => [
  { measure: `${measure}, median of ${samples.length}`, value: median(samples), unit: "ms", bar, samples },
  { measure: `${measure}, slowest of ${samples.length}`, value: Math.max(...samples), unit: "ms", bar },
];
