/**
 * The plan of a lab: every name and address in it, as data, before anything is made.
 *
 *                       hub: bridge "underlay1" 192.168.64.1, datastore
 *              ┌──────────────────┬──────────────────┐
 *        eth0 192.168.64.11   eth0 192.168.64.12   …          hosts h1, h2…: a flanneld each
 *             h1: cni0             h2: cni0
 *              │                    │
 *        eth0 in h1-c1        eth0 in h2-c1                   containers: addresses from their host's subnet
 *
 * With several segments the hub has a bridge for each, the hosts take turns at them, and the hub routes between them.
 * Hub, hosts and containers are network namespaces. Nothing else of the machine is used but two directories, so that
 * labs of different names can exist at once, with the same addresses inside.
 */

import { bitsOf, type Family, formatIp } from "../address/ip.ts";
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
  /** How many links the hosts are spread over: 1…hosts. */
  readonly segments: number;
  /** The networks of the first segment, at most one per family, at least one; further segments take the next ones. */
  readonly underlays: readonly Prefix[];
}

/** A network namespace of the lab. */
export interface Node {
  /** "hub", "h1", "h1-c1". */
  readonly name: string;
  /** Name of the network namespace, machine-wide: "flannel-lab-h1". */
  readonly netns: string;
}

/** An address of a node in the underlay. */
export interface UnderlayAddress {
  readonly family: Family;
  readonly address: string;
  /** "192.168.64.11/24". */
  readonly prefix: string;
}

/** One link that hosts share: a bridge of the hub. */
export interface Segment {
  readonly bridge: string;
  /** "192.168.64.0/24", "fd00:64::/64". */
  readonly networks: readonly string[];
  /** The hub's own addresses on it: the hosts' way to the other segments and to the datastore. */
  readonly gateways: readonly UnderlayAddress[];
}

export interface Hub extends Node {
  /** Of all segments, in their order. */
  readonly addresses: readonly UnderlayAddress[];
}

export interface Host extends Node {
  /** Index of the segment that it is on. */
  readonly segment: number;
  /** One per family: its public IPs as flannel sees them. */
  readonly addresses: readonly UnderlayAddress[];
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
  readonly segments: readonly Segment[];
  readonly hub: Hub;
  readonly hosts: readonly Host[];
}

/** What can be a lab's name: it becomes part of the names of files and namespaces. */
const LAB_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
const HUB_NUMBER = 1;
/** Hosts begin at .11, so that the hub and things yet to come have room below. */
const FIRST_HOST_NUMBER = 11;
/** A bridge takes 1023 ports (BR_MAX_PORTS, net/bridge/br_private.h). */
const MOST_HOSTS = 1000;
/** Holds {@link MOST_HOSTS}; what is smaller is no network for hosts in IPv6 anyway (RFC 4291 §2.5.4). */
const LONGEST_IPV6_UNDERLAY = 64;

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
export function planTopology({ name, hosts, segments, underlays }: LabShape): Topology {
  checkLabName(name);
  checkCounts(hosts, segments, underlays);
  const node = (nodeName: string): Node => ({ name: nodeName, netns: `flannel-${name}-${nodeName}` });
  const networksOf = (index: number): Prefix[] => underlays.map((network) => nextNetwork(network, index));
  const planSegment = (index: number): Segment => ({
    bridge: `underlay${index + 1}`,
    networks: networksOf(index).map(formatPrefix),
    gateways: networksOf(index).map((network) => numberedAddress(network, HUB_NUMBER)),
  });
  const planHost = (index: number): Host => {
    const host = node(`h${index + 1}`);
    const segment = index % segments;
    return {
      ...host,
      segment,
      addresses: networksOf(segment).map((network) => numberedAddress(network, FIRST_HOST_NUMBER + index)),
      subnetFile: `${labDirectory(name)}/${host.name}/subnet.env`,
      logFile: `${labDirectory(name)}/${host.name}/flanneld.log`,
      containers: [{ ...node(`${host.name}-c1`), hostPort: "veth-c1", addressOffset: 2 }],
    };
  };
  const planned = Array.from({ length: segments }, (_, index) => planSegment(index));
  return {
    name,
    segments: planned,
    hub: { ...node("hub"), addresses: planned.flatMap(({ gateways }) => gateways) },
    hosts: Array.from({ length: hosts }, (_, index) => planHost(index)),
  };
}

/** All namespaces: the hub, the hosts, the containers. */
export const nodesOf = ({ hub, hosts }: Topology): Node[] => [
  hub,
  ...hosts,
  ...hosts.flatMap((host) => host.containers),
];

/** All networks of the underlay, as they will be planned. */
export const underlayNetworks = ({
  segments,
  underlays,
}: Pick<LabShape, "segments" | "underlays">): Prefix[] =>
  Array.from({ length: segments }, (_, index) =>
    underlays.map((network) => nextNetwork(network, index)),
  ).flat();

function checkCounts(hosts: number, segments: number, underlays: readonly Prefix[]): void {
  let most = MOST_HOSTS;
  for (const underlay of underlays) {
    const flag = underlay.family === 4 ? "--underlay" : "--underlay-ipv6";
    // The last address of an IPv4 network is its broadcast address.
    const room = underlay.family === 4 ? Number(sizeOf(underlay)) - 1 - FIRST_HOST_NUMBER : MOST_HOSTS;
    if (room < 1) throw new ConfigError(`${flag}: ${formatPrefix(underlay)} is too small, use a /24`);
    if (underlay.family === 6 && underlay.length > LONGEST_IPV6_UNDERLAY) {
      throw new ConfigError(
        `${flag}: ${formatPrefix(underlay)} is too small, use a /${LONGEST_IPV6_UNDERLAY}`,
      );
    }
    most = Math.min(most, room);
    const end = underlay.base + sizeOf(underlay) * BigInt(segments);
    if (segments >= 1 && end > 1n << BigInt(bitsOf(underlay.family))) {
      throw new ConfigError(
        `${flag}: after ${formatPrefix(underlay)} there is no room for further --subnets`,
      );
    }
  }
  if (!Number.isInteger(hosts) || hosts < 1 || hosts > most) {
    const where = underlays.map(formatPrefix).join(" and ");
    throw new ConfigError(`--hosts: must be within 1…${most} in the underlay ${where}, but is ${hosts}`);
  }
  if (!Number.isInteger(segments) || segments < 1 || segments > hosts) {
    throw new ConfigError(
      `--subnets: must be within 1…${hosts}, so that each has one of the --hosts, but is ${segments}`,
    );
  }
}

/** The network of the same size `steps` after this one. */
const nextNetwork = (network: Prefix, steps: number): Prefix => ({
  ...network,
  base: network.base + sizeOf(network) * BigInt(steps),
});

/** The address that reads as ending in `number` in both families: 192.168.64.11 and fd00:64::11. */
function numberedAddress(network: Prefix, number: number): UnderlayAddress {
  const offset = BigInt(network.family === 4 ? number : `0x${number}`);
  const address = formatIp(addressAt(network, offset));
  return { family: network.family, address, prefix: `${address}/${network.length}` };
}
