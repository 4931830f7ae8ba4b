/**
 * The life of the daemon: network config → external interface → device → lease → subnet.env and firewall → peers →
 * ready, then on until told to stop. What it programs is left in the kernel: containers go on talking while it is away.
 */

import { formatIp, type Ip } from "../address/ip.ts";
import type { Backend, Host } from "../backend/backend.ts";
import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import type { FlanneldOptions } from "../config/options.ts";
import type { AtomicFileWriter } from "../config/subnet-env.ts";
import type { LeaseStore } from "../lease/lease-store.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { Kernel } from "../state/kernel.ts";
import { Reconciler } from "../state/reconciler.ts";
import { type DriftLedger, driftOf } from "./drift.ts";
import { chooseExternalInterface, type ExternalInterface } from "./external-interface.ts";
import { FirewallKeeper, type FirewallSystem, firewallWish } from "./firewall-keeper.ts";
import { readHostInterfaces } from "./host-interfaces.ts";
import { describeSubnets, LeaseKeeper } from "./lease-keeper.ts";
import { type UsableNetwork, waitForNetwork } from "./network.ts";
import { PeerFollower, ProblemLog } from "./peers.ts";
import type { Readiness } from "./readiness.ts";
import { previousSubnets, SubnetFile } from "./subnet-file.ts";

/** Everything outside of the program, as `cmd` joins it. */
export interface AgentPorts {
  readonly store: LeaseStore;
  /** Where the network config is, in an operator's words ("etcd key /coreos.com/network/config"). */
  readonly configPlace: string;
  readonly kernel: Kernel;
  readonly rtnetlink: Rtnetlink;
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
  /** Gives memory back that the start needed. */
  readonly releaseMemory: () => void;
}

/** How often the kernel is looked at though nothing seems to have happened. */
const RESYNC_MS = 60_000;
/** After being ready, until what the start left behind is cleared away. */
const SETTLED_MS = 1_000;

/** Runs until aborted. Throws ConfigError for what only the operator can mend with a new start. */
export async function runAgent(
  options: FlanneldOptions,
  ports: AgentPorts,
  readiness: Readiness,
  stop: AbortSignal,
): Promise<void> {
  const { store, logger, timers, kernel } = ports;
  // A part that breaks ends all: half a daemon would look alive.
  const parts = new AbortController();
  const signal = AbortSignal.any([stop, parts.signal]);
  for (const subject of ["network config", "lease", "subnet.env", "firewall", "peers", "kernel"]) {
    readiness.set(subject, "not there yet");
  }
  const usable = await waitForNetwork(store, ports.configPlace, signal, ports, (problem) =>
    readiness.set("network config", problem),
  );
  if (usable === undefined) return;
  const { network } = usable;
  const host = chooseHost(options, ports, network);
  const backend = await createBackend(usable, ports);
  const mtuBytes = backend.mtuBytes(host);

  const reconciler = new Reconciler({
    kernel,
    logger,
    timers,
    resyncIntervalMs: RESYNC_MS,
    onPass() {
      isProgrammed ||= follower.isKnown && reconciler.status.converged;
      readiness.changed();
    },
    onRepair: (repair) => ports.drift.record(driftOf(repair, ports.socketOwner)),
  });
  let isProgrammed = false;
  const firewall = new FirewallKeeper({
    ...ports,
    system: ports.firewall,
    resyncMs: options.firewall.resyncMs,
    readiness,
  });
  const subnetFile = new SubnetFile(options.subnetFile, { ...ports, readiness });
  const keeper = new LeaseKeeper({
    store,
    network,
    attributes: { publicIp: host.publicIp, publicIpv6: host.publicIpv6, ...backend.published },
    previous: previousSubnets(ports.readFile(options.subnetFile), network),
    renewMarginMs: options.renewMarginMs,
    logger,
    timers,
    wallClockMs: ports.wallClockMs,
    onSubnets({ subnets }) {
      replan();
      firewall.hold(firewallWish(options.firewall, network, subnets));
      const networks = { ipv4: network.ipv4?.network, ipv6: network.ipv6?.network };
      subnetFile.publish({ network: networks, subnets, mtuBytes, ipMasq: options.firewall.ipMasq }, signal);
    },
  });
  const follower = new PeerFollower(store, keeper, logger, () => replan());
  const problems = new ProblemLog(logger);
  const ownership = backend.ownership(network);
  const replan = (): void => {
    const { own } = keeper;
    const plan = backend.plan({
      host,
      network,
      own: own?.subnets,
      peers: follower.table.peers(own?.key),
      nextHop: () => undefined,
    });
    problems.report(plan.problems);
    reconciler.setTarget({ state: plan.state, ownership, keepOthers: !follower.isKnown });
  };
  readiness.watch("lease", () => (keeper.problem === undefined ? [] : [keeper.problem]));
  readiness.watch("peers", () => (follower.isKnown ? [] : ["their leases are not known yet"]));
  readiness.watch("kernel", () => {
    const obstacles = reconciler.status.problems;
    return isProgrammed || obstacles.length > 0 ? obstacles : ["not everything is programmed yet"];
  });

  const reconciling = reconciler.run(signal);
  try {
    replan(); // the device first: what a lease promises to peers must be there
    await reconciler.whenConverged(signal);
    if ((await keeper.acquire(signal)) === undefined) return;
    await Promise.all([keeper.run(signal), follower.run(signal), firewall.run(signal), announceReadiness()]);
  } finally {
    parts.abort();
    await reconciling;
  }

  async function announceReadiness(): Promise<void> {
    await readiness.whenReady(signal);
    if (signal.aborted) return;
    logger.info(`flanneld is ready: ${describeSubnets(keeper.own!.subnets)}, ${follower.table.size} leases`);
    try {
      ports.notifyReady();
    } catch (error) {
      logger.error(`Nobody could be told that flanneld is ready: ${messageOf(error)}`);
    }
    await sleep(timers, SETTLED_MS, signal);
    ports.releaseMemory();
  }
}

function chooseHost(options: FlanneldOptions, ports: AgentPorts, network: NetworkConfig): Host {
  const families = { ipv4: network.ipv4 !== undefined, ipv6: network.ipv6 !== undefined };
  const chosen = chooseExternalInterface(readHostInterfaces(ports.rtnetlink), options.interface, families);
  const host = hostOf(chosen);
  logHost(ports.logger, host);
  return host;
}

async function createBackend({ network, factory }: UsableNetwork, ports: AgentPorts): Promise<Backend> {
  const devices = new Set(factory.deviceNames(network));
  const existing = await ports.kernel.observe({ devices, networks: [] }, new Set(["link"]));
  const backend = factory.create({ network, existing, randomBytes: ports.randomBytes });
  for (const note of backend.notes) ports.logger.warn(note);
  return backend;
}

const hostOf = ({ name, mtuBytes, ipv4, ipv6, publicIp, publicIpv6 }: ExternalInterface): Host => ({
  interfaceName: name,
  interfaceMtuBytes: mtuBytes,
  ipv4,
  ipv6,
  publicIp,
  publicIpv6,
});

function logHost(logger: Logger, host: Host): void {
  const show = (ip: Ip | undefined) => (ip === undefined ? [] : [formatIp(ip)]);
  const own = [...show(host.ipv4), ...show(host.ipv6)].join(", ");
  const published = [...show(host.publicIp), ...show(host.publicIpv6)].join(", ");
  const told = published === own ? "" : `, peers are told ${published}`;
  logger.info(`External interface ${host.interfaceName}: ${own}, MTU ${host.interfaceMtuBytes}${told}`);
}
