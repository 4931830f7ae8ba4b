/**
 * Stage 2 of the agent: builds its parts. Each receives only parts that exist before it; what flows in the other
 * direction is an event ({@link AgentEvents}). Nothing runs and nothing is programmed yet.
 */

import { formatIp, type Ip, sameIp } from "../address/ip.ts";
import type { Prefix } from "../address/prefix.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { FlanneldOptions } from "../config/options.ts";
import type { Lease } from "../lease/lease.ts";
import type { HostAddresses } from "../lease/ownership.ts";
import { Reconciler } from "../state/reconciler.ts";
import { AgentEvents } from "./events.ts";
import type { ExternalInterface } from "./external-interface.ts";
import { FirewallKeeper } from "./firewall-keeper.ts";
import { ForeignRoutes } from "./foreign-routes.ts";
import { usedPrefixes } from "./host-routes.ts";
import { HostWatch } from "./host-watch.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { NextHops } from "./next-hops.ts";
import { PeerFollower } from "./peers.ts";
import { Planner } from "./planner.ts";
import type { AgentPorts } from "./ports.ts";
import { PeerProber } from "./prober.ts";
import { Publisher } from "./publisher.ts";
import type { Readiness } from "./readiness.ts";
import type { Resolved } from "./resolve.ts";
import { StaleBridges } from "./stale-bridge.ts";
import { previousSubnets, SubnetFile } from "./subnet-file.ts";

export interface AgentParts {
  readonly events: AgentEvents;
  readonly reconciler: Reconciler;
  readonly keeper: LeaseKeeper;
  readonly follower: PeerFollower;
  readonly planner: Planner;
  readonly firewall: FirewallKeeper;
  readonly publisher: Publisher;
  readonly bridges: StaleBridges;
  readonly foreignRoutes: ForeignRoutes;
  readonly prober: PeerProber;
  /** Watches the host; `changeHost` is called with each other external interface. */
  readonly createWatch: (changeHost: (chosen: ExternalInterface) => void) => HostWatch;
}

/** How often the kernel is resynced without a notification. */
const RESYNC_MS = 60_000;

/** Throws ConfigError if the backend does not work on this host. */
export function build(
  { resolver, chosen, config, isIdentityKept, formerNetworks }: Resolved,
  options: FlanneldOptions,
  ports: AgentPorts,
  readiness: Readiness,
): AgentParts {
  const { store, logger, timers } = ports;
  const events = new AgentEvents();
  const nextHops = new NextHops(ports.rtnetlink, (address, hop) =>
    events.emit({ type: "next-hop", address, hop }),
  );
  const reconciler = new Reconciler({
    providers: ports.providers,
    logger,
    timers,
    resyncIntervalMs: RESYNC_MS,
    onPass: (pass) => events.emit({ type: "pass", pass }),
    onRepair: (repair) => events.emit({ type: "repair", repair }),
  });
  const keeper = new LeaseKeeper({
    store,
    network: config.network,
    attributes: resolver.attributesOf(config),
    previous: previousSubnets(ports.readFile(options.subnetFile), config.network),
    usedPrefixes: (network) => usedPrefixes(ports.rtnetlink, network),
    identity: { isKept: isIdentityKept, isInUse: (addresses) => isInUse(addresses, ports) },
    onCopied: () => events.emit({ type: "copied" }),
    renewMarginMs: options.renewMarginMs,
    logger,
    timers,
    wallClockMs: ports.wallClockMs,
    onSubnets: (own) => events.emit({ type: "subnets", own }),
    onChange: () => events.emit({ type: "lease" }),
  });
  const follower = new PeerFollower(
    ports,
    keeper,
    () => events.emit({ type: "peers" }),
    (message, lease) => events.emit({ type: "peer", message, ...(lease && { lease }) }),
    (changes) => events.emit({ type: "leases", changes }),
  );
  const planner = new Planner(config, {
    blackholeRoute: options.blackholeRoute,
    formerNetworks,
    own: () => keeper.own,
    listedOwn: () => (keeper.own === undefined ? undefined : follower.table.get(keeper.own.key)),
    peers: () => (follower.isKnown ? follower.peers() : undefined),
    sharedIps: () => follower.table.sharedPublicIps(),
    nextHop: () => nextHops.lookup,
    setTarget(target) {
      reconciler.setTarget(target);
      events.emit({ type: "planned" });
    },
    logger,
  });
  const firewall = new FirewallKeeper({
    ...ports,
    system: ports.firewall,
    resyncMs: options.firewall.resyncMs,
    ownNetworks: [...formerNetworks, ...networksOf(config.network)],
    readiness,
  });
  const subnetFile = new SubnetFile(options.subnetFile, { ...ports, readiness });
  const publisher = new Publisher(options.firewall, { planner, keeper, firewall, subnetFile });
  const peers = () => follower.peers();
  const bridges = new StaleBridges({
    rtnetlink: ports.rtnetlink,
    isRemovalAllowed: options.removeStaleBridge,
    own: () => keeper.own?.subnets,
    networks: () => [...networksOf(planner.config.network), ...resolver.formerNetworks],
    problems: () => reconciler.status.problems,
    logger,
  });
  readiness.addNotes(() => bridges.notes);
  const foreignRoutes = new ForeignRoutes({
    rtnetlink: ports.rtnetlink,
    input: () => {
      const own = keeper.own?.subnets;
      if (own === undefined) return undefined;
      const { network, backend, host } = planner.config;
      return {
        ...{ network, own, devices: backend.ownership(network).devices },
        peers: [...(peers() ?? [])].map(({ subnets }) => subnets),
        isPlanned: (destination) => planner.hasRoute(destination),
        externalInterface: host.interfaceName,
      };
    },
    logger,
    timers,
  });
  readiness.addNotes(() => foreignRoutes.notes);
  const prober = new PeerProber({
    ...ports,
    ...{ planner, events, peers, intervalMs: options.probeIntervalMs, own: () => keeper.own?.subnets },
  });
  readiness.addNotes(() => prober.notes);
  const createWatch = (onInterface: (chosen: ExternalInterface) => void) =>
    new HostWatch(
      {
        openNotifications: ports.openNotifications,
        ownPortId: ports.rtnetlink.connection.portId,
        reach: resolver.interfaceOptions.ifaceCanReach,
        choose: (current) =>
          resolver.chooseInterface(planner.config.network, {
            current,
            isPeerAddress: (ip) => addressesOf(peers()).some((other) => sameIp(other, ip)),
          }),
        onInterface,
        isPresent: (index) => ports.rtnetlink.link(index)?.isUp === true,
        nextHops,
        peerAddresses: () => addressesOf(peers()),
        onNextHops: () => events.emit({ type: "next-hops" }),
        onHostChange: () => bridges.check(),
        onNotices: (notices) => foreignRoutes.observe(notices),
        onProblem: (problem) => readiness.set("external interface", problem),
        logger,
        timers,
      },
      chosen,
    );
  return {
    events,
    reconciler,
    keeper,
    follower,
    planner,
    firewall,
    publisher,
    bridges,
    foreignRoutes,
    prober,
    createWatch,
  };
}

/** Whether another host answers at one of these addresses. */
async function isInUse(
  { publicIp, publicIpv6 }: HostAddresses,
  { rtnetlink, hostAnswers }: Pick<AgentPorts, "rtnetlink" | "hostAnswers">,
): Promise<boolean> {
  const own = new Set(rtnetlink.addresses().map(({ address }) => address));
  for (const ip of [publicIp, publicIpv6]) {
    if (ip !== undefined && !own.has(formatIp(ip)) && (await hostAnswers(ip))) return true;
  }
  return false;
}

const networksOf = ({ ipv4, ipv6 }: NetworkFamilies): Prefix[] =>
  [ipv4?.network, ipv6?.network].filter((prefix) => prefix !== undefined);

const addressesOf = (leases: readonly Lease[]): Ip[] =>
  leases.flatMap(({ attributes: { publicIp, publicIpv6 } }) =>
    [publicIp, publicIpv6].filter((ip) => ip !== undefined),
  );
