/** Making a lab: the plan, the state file, then everything in it. What fails is taken down again. */

import { overlaps, type Prefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { type NetworkConfig, parseNetworkConfig } from "../config/network-config.ts";
import type { ContainerNetwork } from "./container-network.ts";
import { startEtcd, startFlanneld, waitForSubnet, writeNetworkConfig } from "./daemons.ts";
import { down } from "./down.ts";
import { makeContainer, makeContainerBridge, makeHost, makeHub } from "./links.ts";
import { identify, type ProcessId } from "./processes.ts";
import { requireProgram, requireRoot, requireTools } from "./requirements.ts";
import { claimLab, type LabProcess, type LabState, recordProcess } from "./state.ts";
import { type Host, type LabShape, planTopology } from "./topology.ts";

export interface UpOptions extends LabShape {
  /** The network config as JSON text. */
  readonly networkConfig: string;
  /** Path of flanneld. */
  readonly flanneld: string;
  /** Flags given to every flanneld besides those that the lab needs. */
  readonly flanneldFlags: readonly string[];
  /** Leave a lab that failed as it is. */
  readonly keep: boolean;
}

/** Tells of the steps, a line each. */
export type Progress = (line: string) => void;

/**
 * Makes a lab and returns when every container has its address. Aborting takes down what is there. Throws
 * ConfigError, FlannelError; then nothing is left, unless `keep`.
 */
export async function up(options: UpOptions, progress: Progress, signal: AbortSignal): Promise<LabState> {
  requireRoot();
  requireTools(["etcd", "etcdctl"]);
  requireProgram(options.flanneld, "--flanneld");
  const topology = planTopology(options);
  refuseOverlap(parseNetworkConfig(options.networkConfig), options.underlay);
  const claimed = await claimLab(topology, identify(process.pid)!);
  try {
    return await build(claimed, options, progress, signal);
  } catch (error) {
    if (!options.keep) await down(topology.name);
    throw error;
  }
}

async function build(
  claimed: LabState,
  options: UpOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<LabState> {
  const { name, hub, hosts } = claimed.topology;
  let state = claimed;
  const record = async (process: LabProcess): Promise<void> => {
    state = await recordProcess(state, process);
  };

  makeHub(hub);
  const etcd = startEtcd(name, hub);
  await record({ ...etcd, role: "datastore", node: hub.name });
  for (const host of hosts) makeHost(host, hub);
  await writeNetworkConfig(name, hub, etcd, options.networkConfig, signal);
  progress(`hub  ${hub.address}  etcd, network config written`);

  const daemons: { host: Host; flanneld: ProcessId }[] = [];
  for (const host of hosts) {
    const flanneld = startFlanneld(options.flanneld, host, hub, options.flanneldFlags);
    await record({ ...flanneld, role: "flanneld", node: host.name });
    daemons.push({ host, flanneld });
  }
  for (const { host, flanneld } of daemons) {
    const network = await waitForSubnet(host, flanneld, signal);
    makeContainerBridge(host, network);
    for (const container of host.containers) makeContainer(container, host, network);
    progress(describeHost(host, network));
  }
  return state;
}

function describeHost(host: Host, { families, mtuBytes }: ContainerNetwork): string {
  const subnets = families.map((family) => family.prefixAt(1)).join(" and ");
  const containers = host.containers.map((container) => {
    const addresses = families.map((family) => family.addressAt(container.addressOffset)).join(" ");
    return `${container.name} ${addresses}`;
  });
  return `${host.name.padEnd(3)}  ${host.address}  flanneld, bridge ${subnets}, MTU ${mtuBytes}, container ${containers.join(", ")}`;
}

/** Containers could not reach hosts, nor hosts each other. */
function refuseOverlap({ ipv4 }: NetworkConfig, underlay: Prefix): void {
  if (ipv4 === undefined || !overlaps(ipv4.network, underlay)) return;
  throw new ConfigError(
    "the hosts' own network lies inside the flannel network: choose another one with --underlay, e.g. 172.31.255.0/24",
  );
}
