/** Making a lab: the state file, then everything in the plan. What fails is taken down again. */

import type { ContainerNetwork } from "./container-network.ts";
import { startFlanneld, waitForSubnet } from "./daemons.ts";
import { endpointOf, startDatastore, writeNetworkConfig } from "./datastore.ts";
import { down } from "./down.ts";
import { makeContainer, makeContainerBridge, makeHost, makeHub } from "./links.ts";
import type { LabPlan } from "./plan.ts";
import { identify, type ProcessId } from "./processes.ts";
import { requireIpv6, requireProgram, requireRoot, requireTools, type Tool } from "./requirements.ts";
import { claimLab, type DatastoreKind, type LabProcess, type LabState, recordProcess } from "./state.ts";
import type { Host, UnderlayAddress } from "./topology.ts";

export interface UpOptions {
  readonly plan: LabPlan;
  readonly datastore: DatastoreKind;
  /** Path of flanneld. */
  readonly flanneld: string;
  /** Path of flannelctl, which serves the store and writes the config. */
  readonly flannelctl: string;
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
  const { topology, network, notes } = options.plan;
  requireRoot();
  const tools: Tool[] = [];
  if (options.datastore === "etcd") tools.push("etcd");
  if (network.enableNftables) tools.push("nft");
  requireTools(tools);
  if (network.ipv6 !== undefined) requireIpv6();
  requireProgram(options.flanneld, "--flanneld");
  const claimed = await claimLab(topology, notes, identify(process.pid)!);
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
  const { topology, notes } = claimed;
  const { hub, hosts } = topology;
  const { datastore: kind, flannelctl } = options;
  const spec = { kind, topology, flannelctl };
  let state = claimed;
  const record = async (process: LabProcess): Promise<void> => {
    state = await recordProcess(state, process);
  };

  makeHub(topology);
  const datastore = startDatastore(spec);
  await record({ ...datastore, role: kind, node: hub.name });
  for (const host of hosts) makeHost(host, topology);
  await writeNetworkConfig(spec, datastore, options.plan.networkConfig, signal);
  progress(`hub  ${addressesOf(hub)}  ${kind}, network config written`);

  const daemons: { host: Host; flanneld: ProcessId }[] = [];
  for (const host of hosts) {
    const flanneld = startFlanneld(options.flanneld, host, endpointOf(hub), options.flanneldFlags);
    await record({ ...flanneld, role: "flanneld", node: host.name });
    daemons.push({ host, flanneld });
  }
  for (const { host, flanneld } of daemons) {
    const network = await waitForSubnet(host, flanneld, signal);
    makeContainerBridge(host, network);
    for (const container of host.containers) makeContainer(container, host, network);
    progress(describeHost(host, network));
  }
  for (const note of notes) progress(`Note: ${note}.`);
  return state;
}

function describeHost(host: Host, { families, mtuBytes }: ContainerNetwork): string {
  const subnets = families.map((family) => family.prefixAt(1)).join(" and ");
  const containers = host.containers.map((container) => {
    const addresses = families.map((family) => family.addressAt(container.addressOffset)).join(" ");
    return `${container.name} ${addresses}`;
  });
  return `${host.name.padEnd(3)}  ${addressesOf(host)}  flanneld, bridge ${subnets}, MTU ${mtuBytes}, container ${containers.join(", ")}`;
}

const addressesOf = (node: { readonly addresses: readonly UnderlayAddress[] }): string =>
  node.addresses.map(({ address }) => address).join(" ");
