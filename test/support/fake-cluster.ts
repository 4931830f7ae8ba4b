/** A cluster of any size as a status source, whose peers, probes and events a test can change. */

import type { PeerReport, ProbeReport, RouteReport, Status } from "../../src/status/api.ts";
import { EventLog } from "../../src/status/event-log.ts";
import type { StatusSource } from "../../src/status/status-source.ts";

export interface FakeCluster extends StatusSource {
  /** By key; a test may put, change and delete peers. */
  readonly byKey: Map<string, PeerReport>;
}

const BACKEND = "vxlan";
const subnetOf = (host: number): string => `10.${5 + (host >> 8)}.${host & 255}.0/24`;
export const keyOf = (host: number): string => subnetOf(host).replace("/", "-");
const addressOf = (host: number): string => `192.168.${host >> 8}.${(host & 255) + 1}`;

/** Results as of a peer that answers after so many milliseconds. */
export function reachable(rttMs: number, lossRatio = 0): ProbeReport {
  const path = {
    ...{ state: "up" as const, since: new Date(Date.now() - 3_600_000).toISOString(), lossRatio },
    rttMs: { min: rttMs * 0.8, mean: rttMs, p99: rttMs * 1.6 },
  };
  return {
    ...{ family: "ipv4", verdict: "reachable", overlay: { ...path, largestPacketBytes: 1450 } },
    underlay: { ...path, largestPacketBytes: 1500 },
  };
}

/** Results as of a peer to which only the underlay works. */
export const overlayDown = (): ProbeReport => ({
  ...reachable(0.4),
  verdict: "overlay down",
  advice: "UDP port 8472 is closed on the way: allow it in the firewall of the peer",
  overlay: { state: "down", since: new Date().toISOString(), lossRatio: 1 },
});

/** Host 1 of a cluster of so many hosts. The round-trip times repeat every 17 hosts. */
export function makeCluster(hosts: number): FakeCluster {
  const byKey = new Map<string, PeerReport>();
  for (let host = 2; host <= hosts; host++)
    byKey.set(keyOf(host), {
      ...{ key: keyOf(host), subnets: [subnetOf(host)], publicIps: [addressOf(host)], backend: BACKEND },
      probes: [reachable(0.3 + ((host * 7) % 17) ** 2 / 20)],
    });
  const events = new EventLog("fake");
  const routeOf = ({ key, subnets, publicIps, problem, probes }: PeerReport): RouteReport => ({
    ...{ subnet: subnets[0]!, peer: key, publicIp: publicIps[0] ?? "", backend: BACKEND, reason: problem },
    ...{ via: subnets[0]!.replace("/24", ""), device: "flannel.1", state: "programmed", probe: probes?.[0] },
  });
  const lease = {
    ...{ key: keyOf(1), subnets: [subnetOf(1)], publicIps: [addressOf(1)], backend: BACKEND },
    expiresAt: new Date(Date.now() + 86_000_000).toISOString(),
  };
  const externalInterface = { name: "eth0", mtuBytes: 1500, addresses: [addressOf(1)] };
  const status = (): Status => ({
    ...{ version: "v1.2.3", host: "node-1", startedAt: "2026-01-01T00:00:00.000Z", isReady: true },
    ...{
      notReadyReasons: [],
      notes: [],
      datastore: "etcd key /coreos.com/network",
      networks: ["10.0.0.0/8"],
    },
    ...{ backend: BACKEND, mtuBytes: 1450, externalInterface, lease, peers: byKey.size, peerProblems: 0 },
    kernel: { objects: byKey.size * 3 + 2, failures: 0, passes: 12, repairs: 1 },
  });
  return {
    ...{ version: "v1.2.3", byKey, events, status, lease: () => lease, metrics: () => [] },
    peers: () => [...byKey.values()],
    routes: () => [...byKey.values()].map(routeOf),
    peer: () => "absent",
    plan: () => [],
    drift: () => ({ counts: {}, entries: [] }),
    path: (to) => {
      const peer = byKey.get(to);
      if (peer === undefined) return "absent";
      const gateway = peer.subnets[0]!.replace("/24", "");
      const mac = "02:00:00:00:01:02";
      const object = (kind: string, what: string) => ({ kind, what, state: "programmed" as const });
      const objects = [
        object("route", `route ${peer.subnets[0]} via ${gateway} dev flannel.1 onlink`),
        object("neighbour", `neighbour ${gateway} lladdr ${mac} dev flannel.1`),
        object("fdb", `fdb ${mac} dst ${peer.publicIps[0]} dev flannel.1`),
        object("link", "link flannel.1 vxlan id 1 dev eth0 local 192.168.0.2 dstport 8472 mtu 1450"),
      ];
      const way = { from: subnetOf(1), to: peer.subnets[0]!, publicIp: peer.publicIps[0] ?? "", objects };
      return { peer: peer.key, problem: peer.problem, externalInterface, ways: [way] };
    },
  };
}
