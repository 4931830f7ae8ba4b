/**
 * `flannelctl leases reserve`: reserves a subnet for the host with a certain public address. The reservation never
 * expires, and only a host with that address acquires it.
 */

import { FAMILIES } from "../address/family.ts";
import { formatIp } from "../address/ip.ts";
import { baseOf, formatPrefix, type Prefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Command } from "../config/command.ts";
import { type NetworkFamilies, parseNetworkConfig } from "../config/network-config.ts";
import type { FamilyConfig } from "../config/network-family.ts";
import { isCompatible } from "../lease/allocation.ts";
import { type LeaseAttributes, overlapsPair, type SubnetPair } from "../lease/lease.ts";
import type { LeaseAdmin, LeaseRecord } from "../lease/lease-admin.ts";
import { encodeLeaseKey } from "../lease/lease-codec.ts";
import { isOwn } from "../lease/ownership.ts";
import type { AdminPorts } from "./admin-ports.ts";
import { parsePublicIps, parseSubnets } from "./arguments.ts";
import { describePublicIps, describeSubnet } from "./lease-text.ts";
import { defineStoreChange } from "./store-command.ts";

/** How often a lost race is retried. */
const MAX_ATTEMPTS = 5;

export const reserveCommand = (ports: AdminPorts): Command =>
  defineStoreChange(ports, {
    summary: "reserve a subnet for the host with this public address; it never expires",
    words: ["SUBNET", "PUBLIC-IP"],
    inKubernetes:
      "a node keeps its podCIDR as long as it exists, so that no reservation is needed; the podCIDR of a new node is assigned by " +
      "kube-controller-manager, or by the creator of the node with spec.podCIDR and spec.podCIDRs",
    flags: {},
    async run(store, { positional: [subnets, publicIps] }, { print, program }) {
      const lines = await reserveSubnets(store, parseSubnets(subnets!), parsePublicIps(publicIps!), program);
      lines.forEach(print);
      return 0;
    },
  });

type PublicIps = ReturnType<typeof parsePublicIps>;

const attributesOf = ({ ipv4, ipv6 }: PublicIps): LeaseAttributes => {
  return {
    publicIp: ipv4,
    publicIpv6: ipv6,
    backendType: "",
    backendData: undefined,
    backendV6Data: undefined,
  };
};

/**
 * Reserves the subnets for the host with these addresses; what was done, in lines for the operator. A reservation that is
 * there already stays. Throws ConfigError if they do not fit the network, or belong to another host.
 */
export async function reserveSubnets(
  store: LeaseAdmin,
  subnets: SubnetPair,
  publicIps: PublicIps,
  program = "flannelctl",
): Promise<string[]> {
  requireFit(await readNetwork(store), subnets, publicIps);
  const attributes = attributesOf(publicIps);
  const key = encodeLeaseKey(subnets);
  const isTheirs = (record: LeaseRecord): boolean => isOwn(record.attributes, { published: [attributes] });
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const records = await store.listRecords();
    const existing = records.find((record) => record.key === key);
    const obstacle = records.find(
      (record) =>
        record.subnets !== undefined &&
        overlapsPair(record.subnets, subnets) &&
        !(record === existing && isTheirs(record)),
    );
    if (obstacle !== undefined) throw new ConfigError(describeObstacle(obstacle));
    const isDone =
      existing === undefined
        ? await store.reserve(subnets, attributes)
        : existing.lifeId === undefined || (await store.keepForever(existing));
    if (!isDone) continue;
    const place = [subnets.ipv4, subnets.ipv6].filter((prefix) => prefix !== undefined).map(formatPrefix);
    const others = records.filter((record) => record !== existing && isTheirs(record));
    return [
      `${place.join(",")} is reserved for ${describePublicIps({ attributes })}.`,
      ...others.map(describeSubnet).map((subnet) => {
        const release = `${program} leases release '${subnet}'`;
        return `Note: that host has also leased ${subnet} and may keep it; to move it, stop flanneld there, then: ${release}`;
      }),
    ];
  }
  throw new ConfigError("the leases change too fast to reserve one; run the command again");
}

async function readNetwork(store: LeaseAdmin): Promise<NetworkFamilies> {
  const stored = await store.readNetworkConfig();
  if (stored !== undefined) return parseNetworkConfig(stored.text);
  throw new ConfigError(
    `there is no network config at ${store.configPlace}, so no subnet can be reserved yet: write one with config set`,
  );
}

/** Throws ConfigError unless a host of this network with these addresses can acquire the subnets. */
export function requireFit(network: NetworkFamilies, subnets: SubnetPair, publicIps: PublicIps): void {
  for (const { family, name } of FAMILIES) {
    const config = network[name];
    const subnet = subnets[name];
    if (config !== undefined && subnet === undefined) {
      throw new ConfigError(
        `the network has IPv${family}: name a subnet of ${formatPrefix(config.network)} too, with a comma between`,
      );
    }
    if (subnet === undefined) continue;
    if (config === undefined)
      throw new ConfigError(`the network has no IPv${family}: leave ${formatPrefix(subnet)} out`);
    if (!isCompatible(config, subnet)) throw new ConfigError(describeMisfit(config, subnet));
  }
  const needed = network.ipv4 === undefined ? "ipv6" : "ipv4";
  if (publicIps[needed] === undefined) {
    throw new ConfigError(
      `hosts of this network are identified by their public IPv${needed === "ipv4" ? 4 : 6} address: name that`,
    );
  }
}

function describeMisfit(
  { network, subnetLength, subnetMin, subnetMax }: FamilyConfig,
  subnet: Prefix,
): string {
  const range = `${formatIp(baseOf(subnetMin))} to ${formatIp(baseOf(subnetMax))}`;
  return `${formatPrefix(subnet)} is no subnet of ${formatPrefix(network)}: those are /${subnetLength} from ${range}`;
}

function describeObstacle(record: LeaseRecord): string {
  const subnet = describeSubnet(record);
  const holder =
    record.attributes === undefined
      ? "is taken by a key with an invalid value"
      : `belongs to ${describePublicIps(record)}`;
  return `${subnet} ${holder}: choose another subnet, or release it first (leases release '${subnet}')`;
}
