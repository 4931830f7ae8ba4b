/** What kube-controller-manager does with --allocate-node-cidrs: gives each node a subnet of each of the cluster's networks. */

import { addressAt, formatPrefix, type Prefix, prefixOf, sizeOf } from "../../address/prefix.ts";
import type { KubeObjects } from "../../kube-server/kube-api-server.ts";

export interface PodNetwork {
  readonly network: Prefix;
  /** Prefix length of a node's subnet. */
  readonly subnetLength: number;
}

/** Gives podCIDRs to the nodes that have none, the first ones that are free. Where nothing is free, nodes stay without. */
export function assignPodCidrs(nodes: KubeObjects, networks: readonly PodNetwork[]): void {
  const specs = nodes
    .list()
    .map(({ metadata, spec }) => ({ name: metadata.name, cidrs: spec?.podCIDRs ?? [] }));
  const taken = new Set(specs.flatMap(({ cidrs }) => cidrs));
  const free = networks.map((network) => freeSubnets(network, taken));
  for (const { name, cidrs } of specs) {
    if (cidrs.length > 0) continue;
    const podCIDRs = free.map((subnets) => subnets.next().value).filter((subnet) => subnet !== undefined);
    if (podCIDRs.length < networks.length) return;
    nodes.patch(name, { spec: { podCIDR: podCIDRs[0], podCIDRs } });
  }
}

function* freeSubnets(
  { network, subnetLength }: PodNetwork,
  taken: ReadonlySet<string>,
): Generator<string, undefined> {
  const end = network.base + sizeOf(network);
  for (let subnet = prefixOf(addressAt(network, 0n), subnetLength); subnet.base < end; ) {
    const text = formatPrefix(subnet);
    if (!taken.has(text)) yield text;
    subnet = { ...subnet, base: subnet.base + sizeOf(subnet) };
  }
}
