/**
 * The life of the daemon: network config → external interface → device → lease → subnet.env → peers → ready, then on
 * until told to stop. What it programs is left in the kernel: containers go on talking while flanneld is away.
 */

import { formatIp, type Ip } from "../address/ip.ts";
import { type Prefix, samePrefix } from "../address/prefix.ts";
import type { Host } from "../backend/backend.ts";
import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import type { FlanneldOptions } from "../config/options.ts";
import {
  type AtomicFileWriter,
  parseSubnetEnv,
  type SubnetEnv,
  writeSubnetEnv,
} from "../config/subnet-env.ts";
import type { OwnLease, SubnetPair } from "../lease/lease.ts";
import type { LeaseStore } from "../lease/lease-store.ts";
import { createLeaseTable } from "../lease/lease-table.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { Kernel } from "../state/kernel.ts";
import { Reconciler } from "../state/reconciler.ts";
import { chooseExternalInterface, type ExternalInterface } from "./external-interface.ts";
import { readHostInterfaces } from "./host-interfaces.ts";
import { describeSubnets, LeaseKeeper } from "./lease-keeper.ts";
import { waitForNetwork } from "./network.ts";
import { logLeaseUpdate, ProblemLog } from "./peers.ts";
import type { Readiness } from "./readiness.ts";

/** Everything outside of the program, as `cmd` joins it. */
export interface AgentPorts {
  readonly store: LeaseStore;
  /** Where the network config is, in an operator's words ("etcd key /coreos.com/network/config"). */
  readonly configPlace: string;
  readonly kernel: Kernel;
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  readonly timers: Timers;
  readonly wallClockMs: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Text of a file; undefined if there is none or it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  readonly writeFile: AtomicFileWriter;
  /** Tells a supervisor that the daemon is ready. */
  readonly notifyReady: () => void;
}

/** How often the kernel is looked at though nothing seems to have happened. */
const RESYNC_MS = 60_000;
const SUBNET_FILE_RETRY_MS = 1_000;

/** Runs until aborted. Throws ConfigError for what only the operator can mend with a new start. */
export async function runAgent(
  options: FlanneldOptions,
  ports: AgentPorts,
  readiness: Readiness,
  signal: AbortSignal,
): Promise<void> {
  const { store, logger, timers, kernel } = ports;
  const usable = await waitForNetwork(store, ports.configPlace, signal, ports, (problem) =>
    readiness.set("network config", problem),
  );
  if (usable === undefined) return;
  const { network, factory } = usable;
  const host = hostOf(
    chooseExternalInterface(readHostInterfaces(ports.rtnetlink), options.interface, {
      ipv4: network.ipv4 !== undefined,
      ipv6: network.ipv6 !== undefined,
    }),
  );
  logHost(logger, host);
  const existing = await kernel.observe(
    { devices: new Set(factory.deviceNames(network)), networks: [] },
    new Set(["link"]),
  );
  const backend = factory.create({ network, existing, randomBytes: ports.randomBytes });
  for (const note of backend.notes) logger.warn(note);
  const mtuBytes = backend.mtuBytes(host);

  const reconciler = new Reconciler({
    kernel,
    logger,
    timers,
    resyncIntervalMs: RESYNC_MS,
    onPass: () => readiness.changed(),
  });
  const ownership = backend.ownership(network);
  const table = createLeaseTable();
  const problems = new ProblemLog(logger);
  let arePeersKnown = false;
  const replan = (): void => {
    const own = keeper.own;
    const { state, problems: found } = backend.plan({
      host,
      network,
      own: own?.subnets,
      peers: table.peers(own?.key),
    });
    problems.report(found);
    reconciler.setTarget({ state, ownership, keepOthers: !arePeersKnown });
  };
  const keeper = new LeaseKeeper({
    store,
    network,
    attributes: { publicIp: host.publicIp, publicIpv6: host.publicIpv6, ...backend.published },
    previous: previousSubnets(ports.readFile(options.subnetFile), network),
    renewMarginMs: options.renewMarginMs,
    logger,
    timers,
    wallClockMs: ports.wallClockMs,
    onSubnets(own) {
      replan();
      void publishSubnets(own);
    },
  });
  readiness.set("subnet.env", "not written yet");
  readiness.watch("peers", () => (arePeersKnown ? [] : ["their leases are not known yet"]));
  readiness.watch("lease", () => (keeper.problem === undefined ? [] : [keeper.problem]));
  readiness.watch("kernel", () => {
    const { converged, problems: obstacles } = reconciler.status;
    return converged || obstacles.length > 0 ? obstacles : ["not everything is programmed yet"];
  });

  const reconciling = reconciler.run(signal);
  try {
    replan(); // the device first: what a lease promises to peers must be there
    await reconciler.whenConverged(signal);
    if ((await keeper.acquire(signal)) === undefined) return;
    await Promise.all([keeper.run(signal), followLeases(), announceReadiness()]);
  } finally {
    await reconciling;
  }

  async function followLeases(): Promise<void> {
    const coalesced = oncePerTurn(replan);
    for await (const update of store.watchLeases(signal)) {
      const key =
        update.type === "snapshot" ? undefined : update.type === "put" ? update.lease.key : update.key;
      const before = key === undefined ? undefined : table.get(key);
      const ownKey = keeper.own?.key;
      const isChanged = table.apply(update);
      // The first snapshot may be the listing from which the lease was taken: it need not hold the lease yet.
      const tellsOfOwn = key === undefined ? arePeersKnown : key === ownKey;
      if (ownKey !== undefined && tellsOfOwn) keeper.observe(table.get(ownKey));
      if (isChanged && key !== ownKey) logLeaseUpdate(logger, update, before);
      if (isChanged || !arePeersKnown) coalesced();
      arePeersKnown = true;
    }
  }

  async function announceReadiness(): Promise<void> {
    await readiness.whenReady(signal);
    if (signal.aborted) return;
    logger.info(
      `flanneld is ready: ${describeSubnets(keeper.own!.subnets)}, ${table.size} leases in the network`,
    );
    ports.notifyReady();
  }

  /** Writes subnet.env however long that takes, unless the subnets change meanwhile. */
  async function publishSubnets(own: OwnLease): Promise<void> {
    const env: SubnetEnv = {
      network: { ipv4: network.ipv4?.network, ipv6: network.ipv6?.network },
      subnets: own.subnets,
      mtuBytes,
      ipMasq: options.firewall.ipMasq,
    };
    let said: string | undefined;
    while (!signal.aborted && keeper.own?.subnets === own.subnets) {
      try {
        await writeSubnetEnv(options.subnetFile, env, ports.writeFile);
        logger.info(`Wrote ${options.subnetFile}`);
        readiness.set("subnet.env", undefined);
        return;
      } catch (error) {
        const problem = messageOf(error);
        if (problem !== said) logger.error(`${problem}; trying every second`);
        said = problem;
        readiness.set("subnet.env", problem);
        await sleep(timers, SUBNET_FILE_RETRY_MS, signal);
      }
    }
  }
}

/** The subnets of the previous run, if they are of this network. */
function previousSubnets(text: string | undefined, network: NetworkConfig): SubnetPair | undefined {
  if (text === undefined) return undefined;
  const { network: previousNetwork, subnets } = parseSubnetEnv(text);
  const isSame = (a: Prefix | undefined, b: Prefix | undefined) =>
    a === undefined || b === undefined ? a === b : samePrefix(a, b);
  const isSameNetwork =
    isSame(previousNetwork.ipv4, network.ipv4?.network) &&
    isSame(previousNetwork.ipv6, network.ipv6?.network);
  return isSameNetwork ? subnets : undefined;
}

/** Calls `action` once, in the next turn of the event loop, however often it is asked for: bursts cost one plan. */
function oncePerTurn(action: () => void): () => void {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    setImmediate(() => {
      isDue = false;
      action();
    });
  };
}

const hostOf = ({ name, mtuBytes, ...addresses }: ExternalInterface): Host => ({
  interfaceName: name,
  interfaceMtuBytes: mtuBytes,
  ...addresses,
});

function logHost(logger: Logger, host: Host): void {
  const show = (ip: Ip | undefined) => (ip === undefined ? [] : [formatIp(ip)]);
  const own = [...show(host.ipv4), ...show(host.ipv6)].join(", ");
  const published = [...show(host.publicIp), ...show(host.publicIpv6)].join(", ");
  const told = published === own ? "" : `, peers are told ${published}`;
  logger.info(`External interface ${host.interfaceName}: ${own}, MTU ${host.interfaceMtuBytes}${told}`);
}
