/** One address family of the network config: its network, and which subnets of it are leased. */

import type { FamilyName } from "../address/family.ts";
import { bitsOf, type Family, formatIp, type Ip, parseIp } from "../address/ip.ts";
import {
  addressAt,
  baseOf,
  containsIp,
  formatPrefix,
  type Prefix,
  parsePrefix,
  prefixOf,
  sizeOf,
} from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { kindOf, type Members, quote, readMember, readText } from "./json-members.ts";

/** One family of the network config. */
export interface FamilyConfig {
  readonly network: Prefix;
  /** Prefix length of every host's subnet. */
  readonly subnetLength: number;
  /** First and last subnet that may be leased. */
  readonly subnetMin: Prefix;
  readonly subnetMax: Prefix;
}

/** Runs a reader; undefined = it threw a ConfigError, which is recorded. */
export type Attempt = <T>(read: () => T) => T | undefined;

/** What differs between the families. Lengths are prefix lengths. */
export interface FamilyRules {
  readonly family: Family;
  /** Members of the network config. */
  readonly keys: {
    readonly enable: string;
    readonly network: string;
    readonly length: string;
    readonly min: string;
    readonly max: string;
  };
  readonly defaultLength: number;
  /** Longest subnet: it needs addresses for the host's device and its bridge. */
  readonly longestSubnet: number;
  /** Longest network: four of the longest subnets. */
  readonly longestNetwork: number;
  readonly example: string;
}

const IPV4_RULES: FamilyRules = {
  family: 4,
  keys: { enable: "EnableIPv4", network: "Network", length: "SubnetLen", min: "SubnetMin", max: "SubnetMax" },
  defaultLength: 24,
  longestSubnet: 30,
  longestNetwork: 28,
  example: "10.5.0.0/16",
};

const IPV6_RULES: FamilyRules = {
  family: 6,
  keys: {
    enable: "EnableIPv6",
    network: "IPv6Network",
    length: "IPv6SubnetLen",
    min: "IPv6SubnetMin",
    max: "IPv6SubnetMax",
  },
  defaultLength: 64,
  longestSubnet: 126,
  longestNetwork: 124,
  example: "fc00::/48",
};

/** What the network config says about each family, by its name. */
export const FAMILY_RULES: Readonly<Record<FamilyName, FamilyRules>> = { ipv4: IPV4_RULES, ipv6: IPV6_RULES };

/** Reads one family of the config; undefined = it has a fault. */
export function parseFamily(
  members: Members,
  rules: FamilyRules,
  attempt: Attempt,
): FamilyConfig | undefined {
  const network = attempt(() => readNetwork(members, rules));
  if (network === undefined) return undefined;
  const subnetLength = attempt(() => readSubnetLength(members, network, rules));
  if (subnetLength === undefined) return undefined;
  const step = 1n << BigInt(bitsOf(rules.family) - subnetLength);
  // The first subnet is not leased: its base is the network's own address, which some stacks treat as a broadcast.
  const second = prefixOf(addressAt(network, step), subnetLength);
  const last = prefixOf(addressAt(network, sizeOf(network) - step), subnetLength);
  const bound = (key: string, fallback: Prefix) =>
    attempt(() => readBound(members, key, network, subnetLength) ?? fallback);
  const subnetMin = bound(rules.keys.min, second);
  const subnetMax = bound(rules.keys.max, last);
  if (subnetMin === undefined || subnetMax === undefined) return undefined;
  return attempt(() => {
    if (subnetMin.base > subnetMax.base) {
      throw new ConfigError(
        `network config: ${rules.keys.min} ${formatIp(baseOf(subnetMin))} lies above ${rules.keys.max} ${formatIp(baseOf(subnetMax))}`,
      );
    }
    return { network, subnetLength, subnetMin, subnetMax };
  });
}

function readNetwork(members: Members, rules: FamilyRules): Prefix {
  const { network: key } = rules.keys;
  const text = readText(members, key);
  if (text === undefined || text === "") {
    const condition = rules.family === 4 ? "unless EnableIPv4 is false" : "because EnableIPv6 is true";
    throw new ConfigError(
      `network config: ${key} is required ${condition}; write e.g. "${key}": "${rules.example}"`,
    );
  }
  const prefix = parsePrefix(text);
  if (prefix === undefined || prefix.family !== rules.family) {
    throw new ConfigError(
      `network config: ${key} ${quote(text)} is not an IPv${rules.family} network in CIDR form like "${rules.example}"`,
    );
  }
  // Go flannel takes it for “no network given”.
  if (prefix.length === 0) {
    throw new ConfigError(
      `network config: ${key} ${quote(text)} is every address there is; write the range for containers, e.g. "${rules.example}"`,
    );
  }
  return prefix;
}

function readSubnetLength(members: Members, network: Prefix, rules: FamilyRules): number {
  const { network: networkKey, length: key } = rules.keys;
  if (network.length > rules.longestNetwork) {
    throw new ConfigError(
      `network config: ${networkKey} ${formatPrefix(network)} is too small; use a /${rules.longestNetwork} or larger`,
    );
  }
  const given = readMember(members, key);
  if (given !== undefined && (typeof given !== "number" || !Number.isInteger(given) || given < 0)) {
    throw new ConfigError(
      `network config: ${key} must be a whole number like ${rules.defaultLength}, but is ${kindOf(given)}`,
    );
  }
  const shortest = network.length + 2;
  if (given === undefined || given === 0) return Math.max(rules.defaultLength, shortest);
  if (given > rules.longestSubnet) {
    throw new ConfigError(`network config: ${key} ${given} is too long; use at most ${rules.longestSubnet}`);
  }
  if (given < shortest) {
    throw new ConfigError(
      `network config: ${key} ${given} leaves fewer than four subnets in ${networkKey} ${formatPrefix(network)}; use at least ${shortest}`,
    );
  }
  return given;
}

/** Undefined = not given: also "" and "0.0.0.0" or "::", which Go flannel's own structs write for “not set”. */
function readBound(members: Members, key: string, network: Prefix, subnetLength: number): Prefix | undefined {
  const text = readText(members, key);
  if (text === undefined || text === "") return undefined;
  const ip: Ip | undefined = parseIp(text);
  if (ip?.family === network.family && ip.value === 0n) return undefined;
  if (ip === undefined || ip.family !== network.family) {
    throw new ConfigError(
      `network config: ${key} ${quote(text)} is not an IPv${network.family} address like "${formatIp(baseOf(network))}"`,
    );
  }
  if (!containsIp(network, ip)) {
    throw new ConfigError(
      `network config: ${key} ${text} is not inside the network ${formatPrefix(network)}`,
    );
  }
  const subnet = prefixOf(ip, subnetLength);
  if (subnet.base !== ip.value) {
    throw new ConfigError(
      `network config: ${key} ${text} is not where a /${subnetLength} subnet begins; the nearest below is ${formatIp(baseOf(subnet))}`,
    );
  }
  return subnet;
}
