/** Hosts of a lab, from nothing to a container that has its address, and back. */

import { rmSync } from "node:fs";
import { deleteNetns } from "../../linux/netns.ts";
import type { Cluster, Programs } from "../clusters/cluster.ts";
import { startFlanneld, waitForReady, waitForSubnet } from "../clusters/daemons.ts";
import type { ContainerNetwork } from "../plan/container-network.ts";
import { isCloud } from "../plan/lab-plan.ts";
import { type Host, nodesOfHost, type UnderlayAddress } from "../plan/topology.ts";
import { endProcesses, isAlive, type ProcessId, processesIn, union } from "../record/lab-processes.ts";
import { type LabState, saveState } from "../record/lab-state.ts";
import { addressesOfContainer, detachContainers, makeContainers } from "./containers.ts";
import { unplugHost } from "./lab-links.ts";

/** The state of a lab while one command changes it, saved with each change. */
export class LabRecord {
  #state: LabState;

  constructor(state: LabState) {
    this.#state = state;
  }

  get state(): LabState {
    return this.#state;
  }

  async change(change: Partial<Pick<LabState, "topology" | "processes">>): Promise<void> {
    this.#state = await saveState({ ...this.#state, ...change });
  }
}

/** Starts flanneld on a host that is there. */
export async function startHost(record: LabRecord, cluster: Cluster, host: Host): Promise<ProcessId> {
  const flanneld = startFlanneld(record.state.setup, host, cluster);
  const { processes } = record.state;
  await record.change({ processes: [...processes, { ...flanneld, role: "flanneld", node: host.name }] });
  return flanneld;
}

/** Waits for flanneld to get a subnet, then makes the containers. Gives a line about the host. Throws FlannelError. */
export async function finishHost(
  host: Host,
  flanneld: ProcessId,
  { programs, backendType }: { readonly programs: Programs; readonly backendType: string },
  signal: AbortSignal,
): Promise<string> {
  const network = await waitForSubnet(host, flanneld, signal);
  if (isCloud(backendType)) await waitForReady(host, flanneld, signal);
  await makeContainers(host, network, programs.cniPlugin);
  return describeHost(host, network);
}

/**
 * Removes a host, complete or not, from a running lab; may be repeated. Returns the faults that did not prevent the
 * removal. Throws FlannelError.
 */
export async function removeHost(
  record: LabRecord,
  cluster: Cluster,
  host: Host,
  programs: Programs,
): Promise<string[]> {
  const faults = await detachContainers(host, programs.cniPlugin);
  const nodes = nodesOfHost(host);
  const own = record.state.processes.filter(({ node }) => node === host.name);
  await endProcesses(() => union(own.filter(isAlive), processesIn(nodes.map(({ netns }) => netns))));
  await cluster.forget(host);
  unplugHost(host, record.state.topology);
  for (const { netns } of nodes) deleteNetns(netns);
  rmSync(host.directory, { recursive: true, force: true });
  const { topology, processes } = record.state;
  await record.change({
    topology: { ...topology, hosts: topology.hosts.filter(({ name }) => name !== host.name) },
    processes: processes.filter(({ node }) => node !== host.name),
  });
  return faults;
}

function describeHost(host: Host, network: ContainerNetwork): string {
  const { families, mtuBytes } = network;
  const subnets = families.map((family) => family.prefixAt(1)).join(" and ");
  const containers = host.containers.map((container) => {
    const addresses = addressesOfContainer(container, network).map(({ address }) => address);
    return `${container.name} ${addresses.join(" ")}`;
  });
  return `${host.name.padEnd(3)}  ${addressesOf(host)}  flanneld, bridge ${subnets}, MTU ${mtuBytes}, container ${containers.join(", ")}`;
}

export const addressesOf = (node: { readonly addresses: readonly UnderlayAddress[] }): string =>
  node.addresses.map(({ address }) => address).join(" ");
