/**
 * Nodes as leases: the subnets are the podCIDRs that Kubernetes assigned; what peers need is in flannel's annotations,
 * written exactly as Go flannel writes them, so that both implementations share one cluster. A malformed node is a problem
 * that is logged, and no lease (W16).
 */

import { type Family, formatIp, type Ip, parseIp } from "../../address/ip.ts";
import { containsPrefix, formatPrefix, parsePrefix } from "../../address/prefix.ts";
import { isShallow, quote } from "../../config/json-members.ts";
import type { NetworkFamilies } from "../../config/network-config.ts";
import type { Lease, LeaseAttributes, SubnetPair } from "../lease.ts";
import { isProblem, type Problem } from "../lease-codec.ts";
import type { Annotation } from "./annotations.ts";
import type { NodeRecord } from "./node-record.ts";

/** Longest text of backend data that is parsed. A real one has about 50 characters. */
const MAX_DATA_LENGTH = 64 * 1024;
/** Deepest nesting of backend data. A real one has 1. */
const MAX_DATA_DEPTH = 16;
const MAX_TYPE_LENGTH = 64;
/** How Go flannel writes that there is no backend data. */
const NO_DATA = "null";

/** Undefined = flannel does not manage the node (yet), or Kubernetes has no subnet for it (yet): that is no problem. */
export function leaseOfNode(node: NodeRecord): Lease | Problem | undefined {
  if (node.annotations.managed !== "true" || node.podCidrs.length === 0) return undefined;
  const subnets = subnetsOf(node);
  if (isProblem(subnets)) return subnets;
  const attributes = attributesOf(node);
  if (isProblem(attributes)) return attributes;
  const { createdAtMs } = node;
  return {
    ...{ key: node.name, subnets, attributes },
    ...(createdAtMs !== undefined && { establishedAt: BigInt(createdAtMs) }),
  };
}

/** The first podCIDR of each family. */
export function subnetsOf({ podCidrs }: NodeRecord): SubnetPair | Problem {
  if (podCidrs.length > 2) {
    return { problem: `it has ${podCidrs.length} podCIDRs: at most one of each family can be used` };
  }
  const prefixes = podCidrs.map(parsePrefix);
  const bad = prefixes.indexOf(undefined);
  if (bad >= 0) return { problem: `its podCIDR ${quote(podCidrs[bad]!)} is not a subnet like 10.244.1.0/24` };
  const first = (family: Family) => prefixes.find((prefix) => prefix!.family === family);
  return { ipv4: first(4), ipv6: first(6) };
}

/**
 * The subnets of a host of this network, of the families that the network has. An operator has to fix a problem, or it
 * passes when the node is assigned a podCIDR.
 */
export function usableSubnets(node: NodeRecord, network: NetworkFamilies): SubnetPair | Problem {
  const assign =
    "is kube-controller-manager running with --allocate-node-cidrs=true and a --cluster-cidr within the network?";
  if (node.podCidrs.length === 0) return { problem: `has no podCIDR yet: ${assign}` };
  const subnets = subnetsOf(node);
  if (isProblem(subnets)) return { problem: `cannot be used: ${subnets.problem}` };
  for (const [name, family] of [
    ["ipv4", "IPv4"],
    ["ipv6", "IPv6"],
  ] as const) {
    const expected = network[name]?.network;
    const subnet = subnets[name];
    if (expected === undefined) continue;
    if (subnet === undefined) {
      return {
        problem: `has no ${family} podCIDR, only ${node.podCidrs.join(", ")}, but net-conf.json enables ${family}: ${assign}`,
      };
    }
    if (!containsPrefix(expected, subnet)) {
      return {
        problem:
          `has podCIDR ${formatPrefix(subnet)}, which is not inside the network ${formatPrefix(expected)} of net-conf.json: ` +
          "give kube-controller-manager's --cluster-cidr and net-conf.json the same network",
      };
    }
  }
  return {
    ipv4: network.ipv4 && subnets.ipv4,
    ipv6: network.ipv6 && subnets.ipv6,
  };
}

/** What a node's annotations publish. */
export function attributesOf({ annotations }: NodeRecord): LeaseAttributes | Problem {
  const publicIp = readAddress(annotations.publicIp, 4);
  const publicIpv6 = readAddress(annotations.publicIpv6, 6);
  if (publicIp === null) return wrong("public-ip", annotations.publicIp, "is not an IPv4 address");
  if (publicIpv6 === null) return wrong("public-ipv6", annotations.publicIpv6, "is not an IPv6 address");
  if (publicIp === undefined && publicIpv6 === undefined) {
    return { problem: "it has neither annotation public-ip nor public-ipv6" };
  }
  const backendData = readData(annotations.backendData);
  const backendV6Data = readData(annotations.backendV6Data);
  if (isMalformed(backendData)) return { problem: `annotation backend-data ${backendData.problem}` };
  if (isMalformed(backendV6Data)) return { problem: `annotation backend-v6-data ${backendV6Data.problem}` };
  const { backendType = "" } = annotations;
  if (backendType.length > MAX_TYPE_LENGTH) return wrong("backend-type", backendType, "is no backend's name");
  return { publicIp, publicIpv6, backendType, backendData, backendV6Data };
}

/** What a host writes; null = the annotation is removed. */
export function annotationsOf(attributes: LeaseAttributes): Partial<Record<Annotation, string | null>> {
  const { publicIp, publicIpv6, backendType, backendData, backendV6Data } = attributes;
  const data = (ip: Ip | undefined, value: unknown) =>
    ip === undefined ? null : value === undefined ? NO_DATA : JSON.stringify(value);
  return {
    managed: "true",
    backendType,
    backendData: data(publicIp, backendData),
    publicIp: publicIp === undefined ? null : formatIp(publicIp),
    backendV6Data: data(publicIpv6, backendV6Data),
    publicIpv6: publicIpv6 === undefined ? null : formatIp(publicIpv6),
  };
}

/** Those of `desired` that the node does not have. */
export function missingAnnotations(
  { annotations }: NodeRecord,
  desired: Partial<Record<Annotation, string | null>>,
): Partial<Record<Annotation, string | null>> {
  const missing = (Object.entries(desired) as [Annotation, string | null][]).filter(
    ([annotation, value]) => (annotations[annotation] ?? null) !== value,
  );
  return Object.fromEntries(missing);
}

/** Undefined = absent (Go flannel writes 0.0.0.0 for a family that a host does not have), null = malformed. */
export function readAddress(text: string | undefined, family: Family): Ip | undefined | null {
  if (text === undefined || text === "") return undefined;
  const ip = parseIp(text);
  if (ip === undefined || ip.family !== family) return null;
  return ip.value === 0n ? undefined : ip;
}

/** What is wrong with backend data. A class, so that no JSON value can be mistaken for one. */
class Malformed {
  readonly problem: string;
  constructor(problem: string) {
    this.problem = problem;
  }
}

const isMalformed = (value: unknown): value is Malformed => value instanceof Malformed;

function readData(text: string | undefined): unknown {
  if (text === undefined || text === "") return undefined;
  if (text.length > MAX_DATA_LENGTH) return new Malformed(`is longer than ${MAX_DATA_LENGTH} characters`);
  try {
    const value: unknown = JSON.parse(text);
    if (!isShallow(value, MAX_DATA_DEPTH))
      return new Malformed(`is nested deeper than ${MAX_DATA_DEPTH} levels`);
    return value ?? undefined;
  } catch {
    return new Malformed("is not JSON");
  }
}

const wrong = (name: string, value: string | undefined, complaint: string): Problem => ({
  problem: `annotation ${name} ${complaint}: ${quote(value ?? "")}`,
});
