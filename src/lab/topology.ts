/**
 * The plan of a lab: every name and address in it, as data, before anything is made.
 *
 *                       hub: bridge "underlay" 192.168.64.1, datastore
 *              ┌──────────────────┬──────────────────┐
 *        eth0 192.168.64.11   eth0 192.168.64.12   …          hosts h1, h2…: a flanneld each
 *             h1: cni0             h2: cni0
 *              │                    │
 *        eth0 in h1-c1        eth0 in h2-c1                   containers: addresses from their host's subnet
 *
 * Hub, hosts and containers are network namespaces. Nothing else of the machine is used but two directories, so that
 * labs of different names can exist at once, with the same addresses inside.
 */

import { formatIp } from "../address/ip.ts";
import { addressAt, formatPrefix, type Prefix, sizeOf } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";

/** Name of a lab that was given none. */
export const DEFAULT_LAB = "lab";
/** Holds one directory per lab: its state, logs and subnet files. On a memory file system, as the lab itself. */
export const LABS_DIRECTORY = "/run/flannel-lab";
/** Holds the datastores' files, which may be large. */
export const LABS_DATA_DIRECTORY = "/var/lib/flannel-lab";

export interface LabShape {
  readonly name: string;
  /** How many hosts, at least 1. */
  readonly hosts: number;
  /** The network that the hosts are in, IPv4. */
  readonly underlay: Prefix;
}

/** A network namespace of the lab. */
export interface Node {
  /** "hub", "h1", "h1-c1". */
  readonly name: string;
  /** Name of the network namespace, machine-wide: "flannel-lab-h1". */
  readonly netns: string;
}

export interface Hub extends Node {
  /** "192.168.64.1/24", on the bridge. */
  readonly prefix: string;
  readonly address: string;
}

export interface Host extends Node {
  readonly prefix: string;
  /** Its public IP as flannel sees it. */
  readonly address: string;
  readonly subnetFile: string;
  readonly logFile: string;
  readonly containers: readonly Container[];
}

export interface Container extends Node {
  /** Name of the veth's end in the host. */
  readonly hostPort: string;
  /** Which address of the host's subnet it takes; 1 is the bridge's. */
  readonly addressOffset: number;
}

export interface Topology {
  readonly name: string;
  /** "192.168.64.0/24". */
  readonly underlay: string;
  readonly hub: Hub;
  readonly hosts: readonly Host[];
}

/** What can be a lab's name: it becomes part of the names of files and namespaces. */
const LAB_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
/** Hosts begin at .11, so that the hub and things yet to come have room below. */
const FIRST_HOST_OFFSET = 11;

/** Throws ConfigError for a name that could not be a lab's. */
export function checkLabName(name: string): void {
  if (LAB_NAME.test(name)) return;
  throw new ConfigError(
    `--name: ${JSON.stringify(name)} cannot name a lab: use up to 32 lower-case letters, digits and, between them, "-"`,
  );
}

export const labDirectory = (name: string): string => `${LABS_DIRECTORY}/${name}`;
export const labDataDirectory = (name: string): string => `${LABS_DATA_DIRECTORY}/${name}`;

/** Throws ConfigError if the shape cannot be had. */
export function planTopology({ name, hosts, underlay }: LabShape): Topology {
  checkLabName(name);
  if (underlay.family !== 4) throw new ConfigError("--underlay: must be an IPv4 network");
  // The last address of a network is its broadcast address.
  const mostHosts = Number(sizeOf(underlay)) - 1 - FIRST_HOST_OFFSET;
  if (mostHosts < 1) throw new ConfigError(`--underlay: ${formatPrefix(underlay)} is too small, use a /24`);
  if (!Number.isInteger(hosts) || hosts < 1 || hosts > mostHosts) {
    throw new ConfigError(
      `--hosts: must be within 1…${mostHosts} in the underlay ${formatPrefix(underlay)}, but is ${hosts}`,
    );
  }
  const addressOf = (offset: number) => {
    const address = formatIp(addressAt(underlay, BigInt(offset)));
    return { address, prefix: `${address}/${underlay.length}` };
  };
  const node = (nodeName: string): Node => ({ name: nodeName, netns: `flannel-${name}-${nodeName}` });
  const planHost = (number: number): Host => {
    const host = node(`h${number}`);
    return {
      ...host,
      ...addressOf(FIRST_HOST_OFFSET + number - 1),
      subnetFile: `${labDirectory(name)}/${host.name}/subnet.env`,
      logFile: `${labDirectory(name)}/${host.name}/flanneld.log`,
      containers: [{ ...node(`${host.name}-c1`), hostPort: "veth-c1", addressOffset: 2 }],
    };
  };
  return {
    name,
    underlay: formatPrefix(underlay),
    hub: { ...node("hub"), ...addressOf(1) },
    hosts: Array.from({ length: hosts }, (_, index) => planHost(index + 1)),
  };
}

/** All namespaces: the hub, the hosts, the containers. */
export const nodesOf = ({ hub, hosts }: Topology): Node[] => [
  hub,
  ...hosts,
  ...hosts.flatMap((host) => host.containers),
];
