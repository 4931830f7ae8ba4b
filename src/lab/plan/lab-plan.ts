/** What the flags of `lab up` ask for: a network config, and a topology that has the families in it. */

import { randomBytes } from "node:crypto";
import type { Family } from "../../address/ip.ts";
import { formatPrefix, overlaps, type Prefix, parsePrefix } from "../../address/prefix.ts";
import { type Network, parseNetwork } from "../../backend/backends.ts";
import { ConfigError } from "../../base/error.ts";
import type { NetworkFamilies } from "../../config/network-config.ts";
import { planTopology, type Topology, underlayNetworks } from "./topology.ts";
import type { UpFlags } from "./up-flags.ts";

/** The embedded store, a real etcd, or the API server of a Kubernetes cluster. */
export type DatastoreKind = "store" | "etcd" | "kube";

export interface LabPlan {
  readonly topology: Topology;
  readonly network: Network;
  /** The text that the network was read from. */
  readonly networkConfig: string;
  readonly datastore: DatastoreKind;
}

/** What the network config is made of: a file says all of it. */
const CONFIG_FLAGS = [
  "backend",
  "direct-routing",
  "network",
  "dual-stack",
  "ipv6-only",
  "ipv6-network",
  "nftables",
] as const;

/** `readFile` reads what --config names. Throws ConfigError for what contradicts itself or cannot be. */
export function planLab(flags: UpFlags, readFile: (path: string) => string): LabPlan {
  const { values } = flags;
  const datastore = readDatastore(flags);
  const networkConfig = values.config === "" ? composeConfig(flags) : readConfig(flags, readFile);
  const network = parseNetwork(networkConfig);
  if (CLOUDS.includes(network.backend.type) && !isCloud(network.backend.type)) {
    throw new ConfigError(
      `a lab has no API of the cloud that ${network.backend.type} needs: choose another --backend, e.g. ${LAB_CLOUDS.join(", ")}`,
    );
  }
  const underlays = readUnderlays(flags, network);
  const shape = {
    name: values.name,
    hosts: values.hosts,
    segments: values.subnets,
    underlays,
    cni: datastore === "kube",
    networkPolicy: values["network-policy"],
  };
  const topology = planTopology(shape);
  refuseOverlap(network, underlayNetworks(shape));
  return { topology, network, networkConfig, datastore };
}

function readDatastore({ values }: UpFlags): DatastoreKind {
  if (values.kube && values.etcd) {
    throw new ConfigError("--kube and --etcd exclude each other: leave one of the two out");
  }
  if (values.kube) return "kube";
  if (values["network-policy"]) {
    throw new ConfigError("--network-policy is for pods and policies in Kubernetes: give --kube too");
  }
  return values.etcd ? "etcd" : "store";
}

function readConfig({ values, sources }: UpFlags, readFile: (path: string) => string): string {
  const other = CONFIG_FLAGS.map((name) => sources[name]).find((source) => source !== undefined);
  if (other === undefined) return readFile(values.config);
  throw new ConfigError(`${other} and --config exclude each other: write it into ${values.config}`);
}

function composeConfig({ values, sources }: UpFlags): string {
  const { backend, network, nftables } = values;
  const ipv6Only = values["ipv6-only"];
  const ipv6 = values["dual-stack"] || ipv6Only;
  if (values["dual-stack"] && ipv6Only) {
    throw new ConfigError("--dual-stack and --ipv6-only exclude each other: leave one of the two out");
  }
  if (ipv6Only && sources.network !== undefined) {
    throw new ConfigError("--network is for IPv4, which --ipv6-only leaves out: give --ipv6-network");
  }
  if (!ipv6 && sources["ipv6-network"] !== undefined) {
    throw new ConfigError("--ipv6-network has no effect without IPv6: give --dual-stack or --ipv6-only too");
  }
  if (values["direct-routing"] && !["vxlan", "ipip"].includes(backend.toLowerCase())) {
    throw new ConfigError(
      `--direct-routing is for the tunnels of vxlan and ipip, but the backend is ${backend}: leave it out`,
    );
  }
  readPrefix(network, "--network", 4);
  readPrefix(values["ipv6-network"], "--ipv6-network", 6);
  return JSON.stringify({
    ...(ipv6Only ? { EnableIPv4: false } : { Network: network }),
    ...(ipv6 ? { EnableIPv6: true, IPv6Network: values["ipv6-network"] } : {}),
    ...(nftables ? { EnableNFTables: true } : {}),
    Backend: {
      Type: backend,
      ...(values["direct-routing"] ? { DirectRouting: true } : {}),
      ...requiredMembers(backend.toLowerCase()),
    },
  });
}

/** What a backend cannot do without: a key, or commands that work where all hosts are on one link. */
function requiredMembers(backend: string): Readonly<Record<string, string>> {
  if (backend === "ipsec") return { PSK: randomBytes(48).toString("hex") };
  if (backend !== "extension") return {};
  return {
    SubnetAddCommand:
      '[ -z "$SUBNET" ] || ip route replace $SUBNET via $PUBLIC_IP; [ -z "$IPV6SUBNET" ] || ip -6 route replace $IPV6SUBNET via $PUBLIC_IPV6',
    SubnetRemoveCommand:
      '[ -z "$SUBNET" ] || ip route delete $SUBNET; [ -z "$IPV6SUBNET" ] || ip -6 route delete $IPV6SUBNET',
  };
}

/** The hosts have addresses of the families that the network has: tunnels and routes go over the same family. */
function readUnderlays({ values, sources }: UpFlags, { ipv4, ipv6 }: NetworkFamilies): Prefix[] {
  const families = [
    { flag: "underlay", family: 4, isUsed: ipv4 !== undefined },
    { flag: "underlay-ipv6", family: 6, isUsed: ipv6 !== undefined },
  ] as const;
  const underlays: Prefix[] = [];
  for (const { flag, family, isUsed } of families) {
    if (isUsed) underlays.push(readPrefix(values[flag], `--${flag}`, family));
    else if (sources[flag] !== undefined) {
      throw new ConfigError(`--${flag} has no effect: the network config has no IPv${family}; leave it out`);
    }
  }
  return underlays;
}

function readPrefix(text: string, flag: string, family: Family): Prefix {
  const prefix = parsePrefix(text);
  if (prefix?.family === family) return prefix;
  const example = family === 4 ? "10.5.0.0/16" : "fd00:5::/48";
  throw new ConfigError(`${flag}: ${JSON.stringify(text)} is not an IPv${family} network like ${example}`);
}

/** Containers could not reach hosts, nor hosts each other. */
function refuseOverlap({ ipv4, ipv6 }: NetworkFamilies, underlays: readonly Prefix[]): void {
  for (const underlay of underlays) {
    const family = underlay.family === 4 ? ipv4 : ipv6;
    if (family === undefined || !overlaps(family.network, underlay)) continue;
    const advice =
      underlay.family === 4 ? "--underlay, e.g. 172.31.254.0/24" : "--underlay-ipv6, e.g. fd00:ffff::/64";
    throw new ConfigError(
      `the hosts' own network ${formatPrefix(underlay)} and the flannel network ${formatPrefix(family.network)} overlap: choose another one with ${advice}`,
    );
  }
}

/** Clouds whose API the lab has. */
const LAB_CLOUDS: readonly string[] = ["aws-vpc"];
/** Backends that need a cloud. */
const CLOUDS: readonly string[] = [...LAB_CLOUDS, "gce", "ali-vpc", "tencent-vpc"];

/** Whether the hub is the router of a cloud. */
export const isCloud = (backendType: string): boolean => LAB_CLOUDS.includes(backendType);

/** What does not work in such a lab, though the lab does: a sentence each. */
export function notesOn(backendType: string, { segments, hosts }: Topology): string[] {
  if (backendType !== "host-gw" || segments.length === 1) return [];
  const groups = segments.map((_, index) =>
    hosts.flatMap((host) => (host.segment === index ? [host.name] : [])).join(", "),
  );
  return [
    `host-gw reaches only hosts on the same link: those on different ones (${groups.join(" | ")}) do not reach each other's containers; use --backend vxlan --direct-routing`,
  ];
}
