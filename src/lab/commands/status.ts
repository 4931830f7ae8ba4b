/** How a lab is: which of its parts live, and what each host got. */

import type { Family } from "../../address/ip.ts";
import { formatTable } from "../../base/table.ts";
import { readSubnet } from "../clusters/daemons.ts";
import { addressesOfContainer } from "../hosts/containers.ts";
import type { ContainerNetwork } from "../plan/container-network.ts";
import type { Host } from "../plan/topology.ts";
import { isAlive } from "../record/lab-processes.ts";
import type { LabProcess, LabState } from "../record/lab-state.ts";
import { formatFamilies } from "./family-tables.ts";

export interface LabStatus {
  readonly nodes: readonly NodeStatus[];
  /** Every daemon lives and every host has a subnet. */
  readonly isGood: boolean;
}

export interface NodeStatus {
  readonly name: string;
  readonly daemon: string;
  /** Undefined if it has not been started, or has ended. */
  readonly pid: number | undefined;
  /** One per family that the underlay has. */
  readonly families: readonly FamilyStatus[];
}

interface FamilyStatus {
  readonly family: Family;
  /** In the underlay: a host's public IP. */
  readonly address: string;
  /** The container bridge's address, "10.5.43.1/24"; undefined on the hub, or if flanneld has not got a subnet. */
  readonly bridge: string | undefined;
  /** The containers' names and addresses. */
  readonly containers: readonly string[];
}

export function readStatus({ topology, processes }: LabState): LabStatus {
  const processOn = (node: string): LabProcess | undefined =>
    processes.find((candidate) => candidate.node === node);
  const pidOf = (process: LabProcess | undefined): number | undefined =>
    process !== undefined && isAlive(process) ? process.pid : undefined;
  const hosts = topology.hosts.map((host): NodeStatus => {
    const network = readSubnet(host);
    const families = host.addresses.map(({ family, address }): FamilyStatus => {
      const own = network?.families.find((candidate) => candidate.family === family);
      return {
        family,
        address,
        bridge: own?.prefixAt(1),
        containers: network === undefined ? [] : containersOf(host, network, family),
      };
    });
    return { name: host.name, daemon: "flanneld", pid: pidOf(processOn(host.name)), families };
  });
  const { hub } = topology;
  const datastore = processOn(hub.name);
  const hubStatus: NodeStatus = {
    name: hub.name,
    daemon: datastore?.role ?? "-",
    pid: pidOf(datastore),
    families: hub.addresses.map(({ family, address }) => ({
      family,
      address,
      bridge: undefined,
      containers: [],
    })),
  };
  const isGood =
    processes.every((process) => process.node !== hub.name || isAlive(process)) &&
    hubStatus.pid !== undefined &&
    hosts.every(
      ({ pid, families }) => pid !== undefined && families.every(({ bridge }) => bridge !== undefined),
    );
  return { nodes: [hubStatus, ...hosts], isGood };
}

const containersOf = (host: Host, network: ContainerNetwork, family: Family): string[] =>
  host.containers.flatMap((container) =>
    addressesOfContainer(container, network)
      .filter((own) => own.family === family)
      .map(({ address }) => `${container.name} ${address}`),
  );

/** A table for each family that there is. */
export const formatStatus = ({ nodes }: LabStatus): string[] =>
  formatFamilies(
    nodes.flatMap(({ families }) => families.map(({ family }) => family)),
    (family) =>
      formatTable([
        ["node", "address", "daemon", "pid", "bridge", "containers"],
        ...nodes.map((node) =>
          rowOf(
            node,
            node.families.filter((status) => status.family === family),
          ),
        ),
      ]),
  );

const rowOf = ({ name, daemon, pid }: NodeStatus, statuses: readonly FamilyStatus[]): string[] => [
  name,
  statuses.map(({ address }) => address).join(" "),
  daemon,
  pid === undefined ? "dead" : String(pid),
  statuses.map(({ bridge }) => bridge ?? "").join("") || "-",
  statuses.flatMap(({ containers }) => containers).join(" ") || "-",
];
