/**
 * The plan of a lab: every name and address in it, as data, before anything is created.
 *
 *                       hub: bridge "underlay1" 192.168.64.1, datastore
 *              ┌──────────────────┬──────────────────┐
 *        eth0 192.168.64.11   eth0 192.168.64.12   …          hosts h1, h2…: a flanneld each
 *             h1: cni0             h2: cni0
 *              │                    │
 *        eth0 in h1-c1        eth0 in h2-c1                   containers: addresses from their host's subnet
 *
 * With several segments the hub has a bridge for each, the hosts are distributed over them in turn, and the hub routes between them.
 * Hub, hosts and containers are network namespaces. A lab uses nothing else of the machine but two directories, so that
 * several labs can exist at once, with the same addresses inside.
 */

import { bitsOf, type Family, formatIp } from "../../address/ip.ts";
import { addressAt, formatPrefix, type Prefix, parsePrefix, sizeOf } from "../../address/prefix.ts";
import { ConfigError } from "../../base/error.ts";

/** Default name of a lab. */
export const DEFAULT_LAB = "lab";
/** One directory per lab: its state, logs and subnet files. In memory, like the lab itself. */
export const LABS_DIRECTORY = "/run/flannel-lab";
/** The datastores' files, which may be large. */
export const LABS_DATA_DIRECTORY = "/var/lib/flannel-lab";

export interface LabShape {
  readonly name: string;
  /** How many hosts, at least 1. */
  readonly hosts: number;
  /** How many links the hosts are spread over: 1…hosts. */
  readonly segments: number;
  /** The networks of the first segment, at most one per family, at least one; further segments take the next ones. */
  readonly underlays: readonly Prefix[];
  /** Whether containers are joined to their host by CNI plugins, as a container runtime does it. */
  readonly cni: boolean;
  /** Whether pods wait for their network policies. */
  readonly networkPolicy?: boolean;
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

/** A link shared by hosts: a bridge of the hub. */
interface Segment {
  readonly bridge: string;
  /** "192.168.64.0/24", "fd00:64::/64". */
  readonly networks: readonly string[];
  /** The hub's own addresses on it: the hosts' gateway to the other segments and to the datastore. */
  readonly gateways: readonly UnderlayAddress[];
}

export interface Hub extends Node {
  /** Of all segments, in their order. */
  readonly addresses: readonly UnderlayAddress[];
}

export interface Host extends Node {
  /** Counts from 1: 2 for "h2". */
  readonly number: number;
  /** Index of the segment that it is on. */
  readonly segment: number;
  /** One per family: its public IPs as flannel sees them. */
  readonly addresses: readonly UnderlayAddress[];
  /** For its files. */
  readonly directory: string;
  readonly subnetFile: string;
  readonly logFile: string;
  readonly containers: readonly Container[];
}

export interface Container extends Node {
  readonly attachment: Attachment;
}

/** How a container is attached to its host. */
type Attachment =
  | {
      /** By the lab itself. */
      readonly kind: "veth";
      /** Name of the veth's end in the host. */
      readonly hostPort: string;
      /** Which address of the host's subnet it takes; 1 is the bridge's. */
      readonly addressOffset: number;
    }
  | {
      /** By the plugin in bin/. */
      readonly kind: "cni";
      /** The plugin's result, while the container is attached. */
      readonly resultFile: string;
      /** State of the plugins: addresses and attachments of containers. */
      readonly stateDirectory: string;
      /** Whether the plugin waits for the pod's network policies. */
      readonly waitsForPolicies?: boolean;
    };

export interface VethContainer extends Container {
  readonly attachment: Extract<Attachment, { readonly kind: "veth" }>;
}

export interface CniContainer extends Container {
  readonly attachment: Extract<Attachment, { readonly kind: "cni" }>;
}

export interface Topology {
  readonly name: string;
  readonly cni: boolean;
  readonly networkPolicy?: boolean;
  readonly segments: readonly Segment[];
  readonly hub: Hub;
  readonly hosts: readonly Host[];
}

/** Valid names of labs: part of the names of files and namespaces. */
const LAB_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
const HUB_NUMBER = 1;
/** Hosts begin at .11, which leaves addresses for the hub below. */
const FIRST_HOST_NUMBER = 11;
/** A bridge has up to 1023 ports (BR_MAX_PORTS, net/bridge/br_private.h). */
const MOST_HOSTS = 1000;
/** Enough for {@link MOST_HOSTS}; IPv6 has no smaller networks for hosts (RFC 4291 §2.5.4). */
const LONGEST_IPV6_UNDERLAY = 64;

/** Throws ConfigError for an invalid name. */
export function checkLabName(name: string): void {
  if (LAB_NAME.test(name)) return;
  throw new ConfigError(
    `--name: ${JSON.stringify(name)} is not a valid name; use up to 32 lower-case letters, digits and, between them, "-"`,
  );
}

export const labDirectory = (name: string): string => `${LABS_DIRECTORY}/${name}`;
export const labDataDirectory = (name: string): string => `${LABS_DATA_DIRECTORY}/${name}`;

/** Throws ConfigError if the shape is impossible. */
export function planTopology({ name, hosts, segments, underlays, cni, networkPolicy }: LabShape): Topology {
  checkLabName(name);
  checkCounts(hosts, segments, underlays);
  const planSegment = (index: number): Segment => {
    const networks = underlays.map((network) => nextNetwork(network, index));
    return {
      bridge: `underlay${index + 1}`,
      networks: networks.map(formatPrefix),
      gateways: networks.map((network) => numberedAddress(network, HUB_NUMBER)),
    };
  };
  const planned = Array.from({ length: segments }, (_, index) => planSegment(index));
  const empty: Topology = {
    name,
    cni,
    ...(networkPolicy && { networkPolicy }),
    segments: planned,
    hub: { ...nodeOf(name, "hub"), addresses: planned.flatMap(({ gateways }) => gateways) },
    hosts: [],
  };
  return { ...empty, hosts: Array.from({ length: hosts }, (_, index) => planHost(empty, index + 1)) };
}

/** One more host, with the lowest number that is free. Throws ConfigError if the underlay is full. */
export function planOneMore(topology: Topology): Host {
  const taken = new Set(topology.hosts.map(({ number }) => number));
  let number = 1;
  while (taken.has(number)) number++;
  const most = mostHosts(networksOf(topology.segments[0]!));
  if (number <= most) return planHost(topology, number);
  throw new ConfigError(`the underlay is full: it has room for ${most} hosts; remove one first`);
}

function planHost({ name, cni, networkPolicy, segments }: Topology, number: number): Host {
  const host = nodeOf(name, `h${number}`);
  const segment = (number - 1) % segments.length;
  const directory = `${labDirectory(name)}/${host.name}`;
  const container = nodeOf(name, `${host.name}-c1`);
  return {
    ...host,
    number,
    segment,
    addresses: networksOf(segments[segment]!).map((network) =>
      numberedAddress(network, FIRST_HOST_NUMBER + number - 1),
    ),
    directory,
    subnetFile: `${directory}/subnet.env`,
    logFile: `${directory}/flanneld.log`,
    containers: [
      {
        ...container,
        attachment: cni
          ? {
              kind: "cni",
              resultFile: `${directory}/${container.name}.json`,
              stateDirectory: `${directory}/cni`,
              ...(networkPolicy && { waitsForPolicies: true }),
            }
          : { kind: "veth", hostPort: "veth-c1", addressOffset: 2 },
      },
    ],
  };
}

const nodeOf = (lab: string, name: string): Node => ({ name, netns: `flannel-${lab}-${name}` });

const networksOf = ({ networks }: Segment): Prefix[] => networks.map((network) => parsePrefix(network)!);

/** The namespaces of a host. */
export const nodesOfHost = (host: Host): Node[] => [host, ...host.containers];

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
  for (const underlay of underlays) {
    const flag = underlay.family === 4 ? "--underlay" : "--underlay-ipv6";
    if (mostHosts([underlay]) < 1) {
      throw new ConfigError(`${flag}: ${formatPrefix(underlay)} is too small, use a /24`);
    }
    if (underlay.family === 6 && underlay.length > LONGEST_IPV6_UNDERLAY) {
      throw new ConfigError(
        `${flag}: ${formatPrefix(underlay)} is too small, use a /${LONGEST_IPV6_UNDERLAY}`,
      );
    }
    const end = underlay.base + sizeOf(underlay) * BigInt(segments);
    if (segments >= 1 && end > 1n << BigInt(bitsOf(underlay.family))) {
      throw new ConfigError(
        `${flag}: after ${formatPrefix(underlay)} there is no room for further --subnets`,
      );
    }
  }
  const most = mostHosts(underlays);
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

/** Number of hosts that fit into networks of these sizes. The last address of an IPv4 network is its broadcast address. */
const mostHosts = (underlays: readonly Prefix[]): number =>
  Math.min(
    MOST_HOSTS,
    ...underlays
      .filter(({ family }) => family === 4)
      .map((underlay) => Number(sizeOf(underlay)) - 1 - FIRST_HOST_NUMBER),
  );

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
