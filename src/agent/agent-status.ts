/** The status of the agent, as the status server shows it: read from the agent's parts on request. */

import { formatPrefix } from "../address/prefix.ts";
import { describeSubnets } from "../lease/lease.ts";
import type {
  DriftReport,
  LeaseReport,
  PathReport,
  PeerDetail,
  PeerReport,
  PendingChange,
  RouteReport,
  Status,
  TunnelReport,
} from "../status/api.ts";
import { EventLog } from "../status/event-log.ts";
import { type Metric, single } from "../status/metrics-text.ts";
import type { Outages } from "../status/outages.ts";
import { PROCESS_START_MS, processMetrics } from "../status/process-metrics.ts";
import { RequestMetrics } from "../status/request-metrics.ts";
import type { PolicySource, StatusSource } from "../status/status-source.ts";
import { udpMetrics } from "../status/udp-metrics.ts";
import { type DeviceTraffic, wireguardMetrics } from "../status/wireguard-metrics.ts";
import { AgentMetrics } from "./agent-metrics.ts";
import type { DriftEntry, DriftLedger } from "./drift.ts";
import type { AgentEvent } from "./events.ts";
import { leaseReport } from "./lease-report.ts";
import type { AgentParts } from "./parts.ts";
import { findDestination, reportPath } from "./path-report.ts";
import { findPeer, reportPeerDetail, reportPeers, subnetTexts, textsOf } from "./peer-report.ts";
import { reportPlan } from "./plan-report.ts";
import { probeMetrics } from "./probe-metrics.ts";
import type { Readiness } from "./readiness.ts";
import { type RouteInput, reportRoutes } from "./route-report.ts";

export interface AgentStatusOptions {
  readonly version: string;
  /** The commit it was built from; undefined = unknown. */
  readonly revision: string | undefined;
  readonly hostName: string;
  readonly configPlace: string;
  readonly readiness: Readiness;
  readonly outages: Outages;
  readonly drift: DriftLedger;
  /** Counters of the udp backend's data path. */
  readonly udpCounters: () => Readonly<Record<string, number>>;
  readonly wireguardTraffic: () => readonly DeviceTraffic[];
  /** The IPsec tunnel to a peer's subnet. */
  readonly tunnelTo?: (subnet: string) => TunnelReport | undefined;
  /** Undefined = network policies are not enforced. */
  readonly policies?: PolicySource | undefined;
  readonly wallClockMs: () => number;
}

export class AgentStatus implements StatusSource {
  readonly version: string;
  readonly policies: PolicySource | undefined;
  readonly events = new EventLog(PROCESS_START_MS.toString(36));
  /** Counts the requests to the datastore. */
  readonly requests = new RequestMetrics();
  readonly #options: AgentStatusOptions;
  readonly #counts = new AgentMetrics();
  #parts: AgentParts | undefined;
  #wasReady = false;

  constructor(options: AgentStatusOptions) {
    this.version = options.version;
    this.policies = options.policies;
    this.#options = options;
    options.readiness.subscribe(() => this.#noteReadiness());
    options.drift.onRecord = (entries) => this.#noteDrift(entries);
  }

  /** Shows these parts from now on; to be called once. */
  attach(parts: AgentParts): void {
    this.#parts = parts;
    parts.events.subscribe((event) => this.#note(event));
  }

  status(): Status {
    const { version, hostName, configPlace, readiness, outages } = this.#options;
    const parts = this.#parts;
    const reasons = readiness.reasons;
    return {
      version,
      host: hostName,
      startedAt: new Date(PROCESS_START_MS).toISOString(),
      isReady: reasons.length === 0,
      notReadyReasons: reasons,
      notes: [...outages.lines, ...readiness.notes],
      datastore: configPlace,
      networks: [],
      peers: parts?.follower.peers().length ?? 0,
      peerProblems: this.#problemCount(),
      kernel: { objects: 0, failures: 0, passes: 0, repairs: 0 },
      ...(parts === undefined ? {} : this.#configStatus(parts)),
    };
  }

  lease(): LeaseReport | undefined {
    return this.#parts === undefined ? undefined : leaseReport(this.#parts);
  }

  routes(): Iterable<RouteReport> | undefined {
    const parts = this.#parts;
    return parts?.follower.isKnown === true
      ? reportRoutes(routeInput(parts, this.#options.tunnelTo))
      : undefined;
  }

  peers(): Iterable<PeerReport> | undefined {
    const parts = this.#parts;
    return parts?.follower.isKnown === true
      ? reportPeers(routeInput(parts, this.#options.tunnelTo))
      : undefined;
  }

  peer(keyOrSubnet: string): PeerDetail | "absent" | undefined {
    const parts = this.#parts;
    if (parts?.follower.isKnown !== true) return undefined;
    const input = routeInput(parts, this.#options.tunnelTo);
    const peer = findPeer(input.peers, keyOrSubnet);
    return peer === undefined ? "absent" : reportPeerDetail(peer, input);
  }

  plan(): Iterable<PendingChange> | undefined {
    const parts = this.#parts;
    return parts === undefined ? undefined : reportPlan(parts.reconciler, parts.firewall);
  }

  path(to: string): PathReport | "absent" | undefined {
    const parts = this.#parts;
    if (parts?.follower.isKnown !== true) return undefined;
    const input = routeInput(parts, this.#options.tunnelTo);
    const peer = findDestination(input.peers, to);
    if (peer === undefined) return "absent";
    const own = parts.keeper.own?.subnets;
    return reportPath({ ...input, peer, own, externalInterface: interfaceReport(parts) });
  }

  drift(): DriftReport {
    return this.#options.drift.toJSON();
  }

  metrics(): readonly Metric[] {
    const { version, revision, outages, readiness } = this.#options;
    const expiresAtMs = this.#parts?.keeper.own?.expiresAtMs;
    const isUdp = this.#parts?.planner.config.backend.type === "udp";
    const isReady = readiness.reasons.length === 0;
    return [
      {
        ...{ name: "flannel_build_info", type: "gauge", help: "Version of flanneld; the value is always 1." },
        samples: [
          {
            labels: {
              version,
              node_version: process.version,
              ...(revision === undefined ? {} : { revision }),
            },
            value: 1,
          },
        ],
      },
      single("gauge", "flannel_ready", "Whether this host is in sync: 1 or 0.", isReady ? 1 : 0),
      single(
        "gauge",
        "flannel_peers",
        "Hosts with a lease, this one not included.",
        this.#parts?.follower.peers().length ?? 0,
      ),
      single(
        "gauge",
        "flannel_peer_problems",
        "Peers that cannot be reached, or perhaps not.",
        this.#problemCount(),
      ),
      {
        ...{ name: "flannel_lease_expiry_timestamp_seconds", type: "gauge" },
        help: "When the lease of this host expires, in seconds since unix epoch; absent if it never does.",
        samples: expiresAtMs === undefined ? [] : [{ value: expiresAtMs / 1_000 }],
      },
      ...this.#counts.metrics,
      ...this.requests.metrics,
      single(
        "counter",
        "flannel_datastore_outages_total",
        "Interruptions of watches on the datastore.",
        outages.count,
      ),
      single(
        "gauge",
        "flannel_datastore_interrupted_watches",
        "Watches on the datastore that are interrupted now.",
        outages.lasting,
      ),
      ...(isUdp ? udpMetrics(this.#options.udpCounters()) : []),
      ...wireguardMetrics(this.#options.wireguardTraffic()),
      ...probeMetrics(this.#parts?.prober.numbers),
      ...processMetrics(),
    ];
  }

  #configStatus(parts: AgentParts): Partial<Status> {
    const { planner, reconciler } = parts;
    const { network, backend } = planner.config;
    const { passes, repairs } = reconciler.status;
    return {
      networks: [network.ipv4?.network, network.ipv6?.network].flatMap((prefix) =>
        prefix === undefined ? [] : [formatPrefix(prefix)],
      ),
      backend: backend.type,
      ...(backend.implementation === undefined ? {} : { implementation: backend.implementation }),
      mtuBytes: planner.mtuBytes,
      externalInterface: interfaceReport(parts),
      lease: leaseReport(parts),
      kernel: {
        objects: reconciler.desired.size,
        failures: [...reconciler.refusals].length,
        ...{ passes, repairs },
      },
    };
  }

  #problemCount(): number {
    return new Set(this.#parts?.planner.peerProblems.map(({ key }) => key)).size;
  }

  #note(event: AgentEvent): void {
    if (event.type === "pass") this.#counts.count(event.pass);
    if (event.type === "peer") {
      const { message, lease } = event;
      const about = lease === undefined ? {} : { key: lease.key, subnets: subnetTexts(lease.subnets) };
      this.#record({ type: "peer", message, ...about });
    }
    if (event.type === "probe") {
      const { message, key } = event;
      this.#record({ type: "probe", message, key });
    }
    if (event.type === "lease") {
      const { own, problem } = this.#parts!.keeper;
      const message = problem ?? `Lease ${own === undefined ? "" : describeSubnets(own.subnets)} is held`;
      const about = own === undefined ? {} : { key: own.key, subnets: subnetTexts(own.subnets) };
      this.#record({ type: "lease", message, ...about });
    }
  }

  #noteDrift(entries: readonly DriftEntry[]): void {
    this.#counts.countRepairs(entries);
    for (const { kind, what } of entries)
      this.#record({ type: "drift", message: kind === "firewall" ? `firewall: ${what}` : what });
  }

  #noteReadiness(): void {
    const { reasons } = this.#options.readiness;
    const isReady = reasons.length === 0;
    if (isReady === this.#wasReady) return;
    this.#wasReady = isReady;
    this.#record({ type: "readiness", message: isReady ? "ready" : `not ready: ${reasons[0]}` });
  }

  #record(event: Omit<Parameters<EventLog["record"]>[0], "at">): void {
    this.events.record({ at: new Date(this.#options.wallClockMs()).toISOString(), ...event });
  }
}

const routeInput = (
  { planner, reconciler, follower, keeper, prober }: AgentParts,
  tunnelTo: RouteInput["tunnelTo"],
): RouteInput => ({
  tunnelTo,
  peers: follower.peers(),
  problems: planner.peerProblems,
  devices: planner.config.backend.ownership(planner.config.network).devices,
  backendType: planner.config.backend.type,
  cloudDevice: reconciler.desired.values().some(({ kind }) => kind === "cloud-route")
    ? planner.config.host.interfaceName
    : undefined,
  obstacle: keeper.own === undefined ? keeper.problem : reconciler.status.problems[0],
  desired: reconciler.desired,
  observed: reconciler.observed,
  refusals: reconciler.refusals,
  probe: (key, family) => prober.report(key, family),
});

function interfaceReport({ planner }: AgentParts): PathReport["externalInterface"] {
  const { host } = planner.config;
  return {
    name: host.interfaceName,
    mtuBytes: host.interfaceMtuBytes,
    addresses: textsOf(host.ipv4, host.ipv6),
  };
}
