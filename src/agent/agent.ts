/**
 * The life of the daemon: network config → external interface → device → lease → subnet.env and peers → firewall →
 * ready, then on until told to stop. What it programs is left in the kernel: containers go on talking while it is away.
 */

import { isDeepStrictEqual } from "node:util";
import type { Ip } from "../address/ip.ts";
import type { Backend } from "../backend/backend.ts";
import { createBackend, deviceNamesOf, type Network } from "../backend/backends.ts";
import { FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { FlanneldOptions } from "../config/options.ts";
import type { AtomicFileWriter, SubnetEnv } from "../config/subnet-env.ts";
import type { Lease } from "../lease/lease.ts";
import type { LeaseStore } from "../lease/lease-store.ts";
import type { NotificationSource } from "../netlink/monitor.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { observeAll, type Provider } from "../state/provider.ts";
import { Reconciler } from "../state/reconciler.ts";
import { type DriftLedger, driftOf } from "./drift.ts";
import { FirewallKeeper, type FirewallSystem, firewallWish } from "./firewall-keeper.ts";
import { chooseInterface, describeHost, hostOf } from "./host.ts";
import { adviceFor } from "./host-advice.ts";
import { attributesOf, readHostRecord, withRecord } from "./host-record.ts";
import { HostWatch } from "./host-watch.ts";
import { describeSubnets, LeaseKeeper } from "./lease-keeper.ts";
import { keepMemoryLow, type Memory } from "./memory-keeper.ts";
import { waitForNetwork } from "./network.ts";
import { followNetwork } from "./network-change.ts";
import { NextHops } from "./next-hops.ts";
import { PeerFollower } from "./peers.ts";
import { Planner, type ResolvedConfig } from "./planner.ts";
import type { Readiness } from "./readiness.ts";
import { previousSubnets, SubnetFile } from "./subnet-file.ts";

/** Everything outside of the program, as `cmd` joins it. */
export interface AgentPorts {
  readonly store: LeaseStore;
  /** Where the network config is, in an operator's words ("etcd key /coreos.com/network/config"). */
  readonly configPlace: string;
  /** Providers of all kinds of desired objects. */
  readonly providers: readonly Provider[];
  readonly rtnetlink: Rtnetlink;
  /** Subscribes to the kernel's notifications from this call on. */
  readonly openNotifications: () => NotificationSource;
  readonly firewall: FirewallSystem;
  readonly drift: DriftLedger;
  /** Who holds the netlink socket with this port id, for the drift ledger. */
  readonly socketOwner: (portId: number) => string | undefined;
  readonly logger: Logger;
  readonly timers: Timers;
  readonly wallClockMs: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Text of a file; undefined if there is none or it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  readonly writeFile: AtomicFileWriter;
  /** Tells a supervisor that the daemon is ready. */
  readonly notifyReady: () => void;
  readonly memory: Memory;
}

/** How often the kernel is looked at though nothing seems to have happened. */
const RESYNC_MS = 60_000;
/** How long a first programming that does not come to an end keeps the host unwatched. */
const UNWATCHED_MS = 2_000;
/** The firewall waits no longer than this for the first programming. */
const FIREWALL_WAITS_MS = 500;

/** Runs until aborted. Throws ConfigError for what only the operator can mend with a new start. */
export async function runAgent(
  options: FlanneldOptions,
  ports: AgentPorts,
  readiness: Readiness,
  stop: AbortSignal,
): Promise<void> {
  const { store, logger, timers, providers } = ports;
  // A part that breaks ends all: half a daemon would look alive.
  const parts = new AbortController();
  const signal = AbortSignal.any([stop, parts.signal]);
  for (const subject of ["network config", "lease", "subnet.env", "firewall", "peers", "kernel"]) {
    readiness.set(subject, "not there yet");
  }
  const network = await waitForNetwork(store, ports.configPlace, signal, ports, (problem) =>
    readiness.set("network config", problem),
  );
  if (network === undefined) return;
  const record = await readHostRecord(store, signal, ports, (problem) => readiness.set("host", problem));
  if (record === undefined) return;
  const wanted = withRecord(options.interface, record, logger);
  const told = ({ host, backend }: Omit<ResolvedConfig, "network"> = planner.config) =>
    attributesOf(host, backend.published, record);
  const choose = () => chooseInterface(ports.rtnetlink, wanted, network);
  const chosen = choose();
  const host = hostOf(chosen);
  const backend = await makeBackend();
  logger.info(`External interface ${describeHost(host, told({ host, backend }))}`);
  const planner = new Planner(
    { network, backend, host },
    {
      blackholeRoute: options.blackholeRoute,
      own: () => keeper.own,
      peers: () => (follower.isKnown ? follower.table.peers(keeper.own?.key) : undefined),
      sharedIps: () => follower.table.sharedPublicIps(),
      nextHop: () => nextHops.lookup,
      setTarget: (target) => reconciler.setTarget(target),
      logger,
    },
  );
  const nextHops = new NextHops(ports.rtnetlink);

  const reconciler = new Reconciler({
    providers,
    logger,
    timers,
    resyncIntervalMs: RESYNC_MS,
    onPass() {
      isProgrammed ||= follower.isKnown && reconciler.status.converged;
      if (isProgrammed) programmed.resolve();
      readiness.changed();
    },
    onRepair: (repair) => ports.drift.record(driftOf(repair, ports.socketOwner)),
  });
  let isProgrammed = false;
  const programmed = Promise.withResolvers<void>();
  const firewall = new FirewallKeeper({
    ...ports,
    system: ports.firewall,
    resyncMs: options.firewall.resyncMs,
    readiness,
  });
  let published: SubnetEnv | undefined;
  const subnetFile = new SubnetFile(options.subnetFile, { ...ports, readiness });
  const keeper = new LeaseKeeper({
    store,
    network,
    attributes: told(),
    previous: previousSubnets(ports.readFile(options.subnetFile), network),
    renewMarginMs: options.renewMarginMs,
    logger,
    timers,
    wallClockMs: ports.wallClockMs,
    onSubnets() {
      planner.replan();
      publish();
    },
  });
  const follower = new PeerFollower(store, keeper, logger, () => planner.replan());
  const watch = new HostWatch(
    {
      openNotifications: ports.openNotifications,
      ownPortId: ports.rtnetlink.connection.portId,
      reach: wanted.ifaceCanReach,
      choose,
      onInterface(chosen) {
        const before = planner.config.host;
        const host = hostOf(chosen);
        planner.change({ host });
        if (!isDeepStrictEqual([host.ipv4, host.ipv6], [before.ipv4, before.ipv6]))
          store.addressesChanged?.();
        logger.info(`External interface ${describeHost(host, told())}`);
        settingChanged();
      },
      nextHops,
      peerAddresses: () => addressesOf(follower.table.peers(keeper.own?.key)),
      onNextHops: () => planner.config.backend.asksForNextHops && planner.replan(),
      onProblem: (problem) => readiness.set("external interface", problem),
      logger,
      timers,
    },
    chosen,
  );
  readiness.watch("lease", () => (keeper.problem === undefined ? [] : [keeper.problem]));
  readiness.watch("peers", () => (follower.isKnown ? [] : ["their leases are not known yet"]));
  readiness.watch("kernel", () => {
    const obstacles = reconciler.status.problems;
    return isProgrammed || obstacles.length > 0 ? obstacles : ["not everything is programmed yet"];
  });

  const reconciling = reconciler.run(signal);
  try {
    await Promise.all([serve(), watchHost(), followConfig()]);
  } finally {
    parts.abort();
    await reconciling;
  }

  async function serve(): Promise<void> {
    planner.replan(); // the device first: what a lease promises to peers must be there
    await reconciler.whenConverged(signal);
    if ((await keeper.acquire(signal)) === undefined) return;
    const work = [keeper.run(signal), follower.run(signal), keepFirewall()];
    await Promise.all([...work, onceReady()]);
  }

  /** Not at once: starting the tools holds up this thread, which has thousands of routes to program first. */
  async function keepFirewall(): Promise<void> {
    await Promise.race([programmed.promise, sleep(timers, FIREWALL_WAITS_MS, signal)]);
    await firewall.run(signal);
  }

  function followConfig(): Promise<void> {
    return followNetwork(
      {
        ...{ store, configPlace: ports.configPlace, logger },
        current: () => planner.config,
        createBackend: (network) => backendFor(network),
        apply(network, backend) {
          planner.change({ network, backend });
          settingChanged();
        },
      },
      signal,
    );
  }

  /** Not at once: thousands of notices about our own first work would say nothing new. */
  async function watchHost(): Promise<void> {
    await Promise.race([programmed.promise, sleep(timers, UNWATCHED_MS, signal)]);
    await watch.run(signal);
  }

  function hostAdvice(): string[] {
    const { network, backend } = planner.config;
    const { devices } = backend.ownership(network);
    try {
      return adviceFor({ ...ports, network, devices, own: keeper.own!.subnets });
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      return []; // a kernel that does not answer is told of elsewhere
    }
  }

  /** With the MACs of the devices that are there, or that were published before, or with random ones. */
  async function makeBackend(): Promise<Backend> {
    const devices = new Set(deviceNamesOf(network!));
    const existing = await observeAll(providers, { devices, networks: [] }, new Set(["link"]));
    const backend = backendFor(network!, existing);
    for (const note of backend.notes) logger.warn(note);
    return backend;
  }

  function backendFor(network: Network, existing = planner.links): Backend {
    const published = record!.attributes;
    return createBackend(network, { existing, published, randomBytes: ports.randomBytes });
  }

  /** Tells the peers and this host's own programs what has become of host or config. */
  function settingChanged(): void {
    keeper.update(planner.config.network, told());
    if (keeper.own !== undefined) publish();
  }

  function publish(): void {
    const { network } = planner.config;
    const { subnets } = keeper.own!;
    firewall.hold(firewallWish(options.firewall, network, subnets));
    const networks = { ipv4: network.ipv4?.network, ipv6: network.ipv6?.network };
    const env = { network: networks, subnets, mtuBytes: planner.mtuBytes, ipMasq: options.firewall.ipMasq };
    if (isDeepStrictEqual(env, published)) return;
    published = env;
    subnetFile.publish(env, signal);
  }

  async function onceReady(): Promise<void> {
    await readiness.whenReady(signal);
    if (signal.aborted) return;
    announceReadiness();
    await Promise.all([store.keepAvailable?.(signal), keepMemoryLow(ports.memory, timers, signal)]);
  }

  function announceReadiness(): void {
    for (const advice of hostAdvice()) logger.warn(advice);
    logger.info(`flanneld is ready: ${describeSubnets(keeper.own!.subnets)}`);
    try {
      ports.notifyReady();
    } catch (error) {
      logger.error(`Nobody could be told that flanneld is ready: ${messageOf(error)}`);
    }
  }
}

const addressesOf = (leases: readonly Lease[]): Ip[] =>
  leases.flatMap(({ attributes: { publicIp, publicIpv6 } }) =>
    [publicIp, publicIpv6].filter((ip) => ip !== undefined),
  );
