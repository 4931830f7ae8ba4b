/** How a lab is: which of its parts live, and what each host got. */

import { formatTable } from "../base/table.ts";
import { readSubnet } from "./daemons.ts";
import { isAlive } from "./processes.ts";
import type { LabState } from "./state.ts";

export interface LabStatus {
  readonly nodes: readonly NodeStatus[];
  /** Every daemon lives and every host has a subnet. */
  readonly isGood: boolean;
}

export interface NodeStatus {
  readonly name: string;
  /** In the underlay: a host's public IP. */
  readonly address: string;
  readonly daemon: string;
  /** Undefined if it has not been started, or has ended. */
  readonly pid: number | undefined;
  /** The bridge's addresses, "10.5.43.1/24"; empty on the hub, or if flanneld has not got a subnet. */
  readonly subnets: readonly string[];
  /** The containers' names and addresses. */
  readonly containers: readonly string[];
}

export function readStatus({ topology, processes }: LabState): LabStatus {
  const pidIn = (node: string): number | undefined => {
    const process = processes.find((candidate) => candidate.node === node);
    return process !== undefined && isAlive(process) ? process.pid : undefined;
  };
  const { hub } = topology;
  const hosts = topology.hosts.map((host): NodeStatus => {
    const families = readSubnet(host)?.families ?? [];
    return {
      name: host.name,
      address: host.address,
      daemon: "flanneld",
      pid: pidIn(host.name),
      subnets: families.map((family) => family.prefixAt(1)),
      containers: host.containers.flatMap((container) =>
        families.map((family) => `${container.name} ${family.addressAt(container.addressOffset)}`),
      ),
    };
  });
  const hubStatus: NodeStatus = {
    name: hub.name,
    address: hub.address,
    daemon: "etcd",
    pid: pidIn(hub.name),
    subnets: [],
    containers: [],
  };
  const isGood =
    hubStatus.pid !== undefined && hosts.every((host) => host.pid !== undefined && host.subnets.length > 0);
  return { nodes: [hubStatus, ...hosts], isGood };
}

export const formatStatus = ({ nodes }: LabStatus): string[] =>
  formatTable([
    ["node", "address", "daemon", "pid", "bridge", "containers"],
    ...nodes.map((node) => [
      node.name,
      node.address,
      node.daemon,
      node.pid === undefined ? "dead" : String(node.pid),
      node.subnets.join(" ") || "-",
      node.containers.join(" ") || "-",
    ]),
  ]);
