/**
 * The network config of a cluster: the JSON at `<prefix>/config` in etcd or in net-conf.json, parsed, defaulted and
 * validated. Keys match whatever their case, as Go's encoding/json does it; unknown keys are ignored; `null` counts as
 * absent. Every violation is a {@link ConfigError} that names the key and says what to write instead.
 */

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

/** One family's part of the config. */
export interface FamilyConfig {
  readonly network: Prefix;
  /** Prefix length of every host's subnet. */
  readonly subnetLength: number;
  /** First and last subnet that may be leased. */
  readonly subnetMin: Prefix;
  readonly subnetMax: Prefix;
}

export interface NetworkConfig {
  readonly ipv4: FamilyConfig | undefined;
  readonly ipv6: FamilyConfig | undefined;
  readonly enableNftables: boolean;
  readonly backend: BackendConfig;
  /** Things an operator should read (e.g. "no Backend given: vxlan"), to be logged once by the caller. */
  readonly notes: readonly string[];
}

/** The `Backend` object: its type in lower case, and its other members, to be read with {@link readMember}. */
export interface BackendConfig {
  readonly type: string;
  readonly members: Readonly<Record<string, unknown>>;
}

const DEFAULT_BACKEND = "vxlan";

/** What differs between the families. Lengths are prefix lengths. */
interface FamilyRules {
  readonly family: Family;
  readonly keys: {
    readonly network: string;
    readonly length: string;
    readonly min: string;
    readonly max: string;
  };
  readonly defaultLength: number;
  /** Longest subnet: it has to hold the host's device and its bridge. */
  readonly longestSubnet: number;
  /** Longest network: four of the longest subnets. */
  readonly longestNetwork: number;
  readonly example: string;
}

const IPV4_RULES: FamilyRules = {
  family: 4,
  keys: { network: "Network", length: "SubnetLen", min: "SubnetMin", max: "SubnetMax" },
  defaultLength: 24,
  longestSubnet: 30,
  longestNetwork: 28,
  example: "10.5.0.0/16",
};

const IPV6_RULES: FamilyRules = {
  family: 6,
  keys: { network: "IPv6Network", length: "IPv6SubnetLen", min: "IPv6SubnetMin", max: "IPv6SubnetMax" },
  defaultLength: 64,
  longestSubnet: 126,
  longestNetwork: 124,
  example: "fc00::/48",
};

/** Parses the text of a network config. Throws {@link ConfigError}. */
export function parseNetworkConfig(json: string): NetworkConfig {
  const members = parseObject(json);
  const enableIpv4 = readBoolean(members, "EnableIPv4", true);
  const enableIpv6 = readBoolean(members, "EnableIPv6", false);
  if (!enableIpv4 && !enableIpv6) {
    throw new ConfigError(
      "network config: EnableIPv4 is false and EnableIPv6 is not true; enable at least one of them",
    );
  }
  const notes: string[] = [];
  return {
    ipv4: enableIpv4 ? parseFamily(members, IPV4_RULES) : undefined,
    ipv6: enableIpv6 ? parseFamily(members, IPV6_RULES) : undefined,
    enableNftables: readBoolean(members, "EnableNFTables", false),
    backend: parseBackend(members, notes),
    notes,
  };
}

/**
 * The member called `name` in any spelling of upper and lower case; of several the last, as in Go. `null` counts as
 * absent. Use it for the members of `Backend` too.
 */
export function readMember(members: Readonly<Record<string, unknown>>, name: string): unknown {
  const wanted = name.toLowerCase();
  let found: unknown;
  for (const [key, value] of Object.entries(members)) {
    if (key.toLowerCase() === wanted && value !== null) found = value;
  }
  return found;
}

function parseObject(json: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    // V8's message quotes the text; a config may hold a PSK, so only the position is passed on.
    const position = /position (\d+)/.exec(String(error))?.[1];
    const where = position === undefined ? "" : ` (near character ${position} of ${json.length})`;
    throw new ConfigError(
      `network config is not valid JSON${where}; expected like {"Network": "10.5.0.0/16"}`,
    );
  }
  if (!isObject(value)) {
    throw new ConfigError(
      `network config must be a JSON object like {"Network": "10.5.0.0/16"}, but is ${kindOf(value)}`,
    );
  }
  return value;
}

function parseFamily(members: Readonly<Record<string, unknown>>, rules: FamilyRules): FamilyConfig {
  const network = readNetwork(members, rules);
  const subnetLength = readSubnetLength(members, network, rules);
  const step = 1n << BigInt(bitsOf(rules.family) - subnetLength);
  // The first subnet is left out: its base is the network's own address, which some stacks take for a broadcast.
  const second = prefixOf(addressAt(network, step), subnetLength);
  const last = prefixOf(addressAt(network, sizeOf(network) - step), subnetLength);
  const subnetMin = readBound(members, rules.keys.min, network, subnetLength) ?? second;
  const subnetMax = readBound(members, rules.keys.max, network, subnetLength) ?? last;
  if (subnetMin.base > subnetMax.base) {
    throw new ConfigError(
      `network config: ${rules.keys.min} ${formatIp(baseOf(subnetMin))} lies above ${rules.keys.max} ${formatIp(baseOf(subnetMax))}`,
    );
  }
  return { network, subnetLength, subnetMin, subnetMax };
}

function readNetwork(members: Readonly<Record<string, unknown>>, rules: FamilyRules): Prefix {
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
  return prefix;
}

function readSubnetLength(
  members: Readonly<Record<string, unknown>>,
  network: Prefix,
  rules: FamilyRules,
): number {
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

function readBound(
  members: Readonly<Record<string, unknown>>,
  key: string,
  network: Prefix,
  subnetLength: number,
): Prefix | undefined {
  const text = readText(members, key);
  if (text === undefined || text === "") return undefined;
  const ip: Ip | undefined = parseIp(text);
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

function parseBackend(members: Readonly<Record<string, unknown>>, notes: string[]): BackendConfig {
  const backend = readMember(members, "Backend");
  if (backend === undefined) {
    notes.push(`network config has no Backend: using ${DEFAULT_BACKEND}`);
    return { type: DEFAULT_BACKEND, members: {} };
  }
  if (!isObject(backend)) {
    throw new ConfigError(
      `network config: Backend must be an object like {"Type": "vxlan"}, but is ${kindOf(backend)}`,
    );
  }
  const type = readMember(backend, "Type");
  if (type !== undefined && typeof type !== "string") {
    throw new ConfigError(
      `network config: Backend.Type must be a string like "vxlan", but is ${kindOf(type)}`,
    );
  }
  if (type === undefined || type === "") {
    notes.push(`network config has no Backend.Type: using ${DEFAULT_BACKEND}`);
  }
  const others = Object.entries(backend).filter(([key]) => key.toLowerCase() !== "type");
  return { type: (type || DEFAULT_BACKEND).toLowerCase(), members: Object.fromEntries(others) };
}

function readBoolean(members: Readonly<Record<string, unknown>>, key: string, fallback: boolean): boolean {
  const value = readMember(members, key) ?? fallback;
  if (typeof value !== "boolean") {
    throw new ConfigError(
      `network config: ${key} must be true or false (without quotes), but is ${kindOf(value)}`,
    );
  }
  return value;
}

function readText(members: Readonly<Record<string, unknown>>, key: string): string | undefined {
  const value = readMember(members, key);
  if (value !== undefined && typeof value !== "string") {
    throw new ConfigError(`network config: ${key} must be a string in quotes, but is ${kindOf(value)}`);
  }
  return value;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const quote = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return typeof value === "string" ? `the string ${quote(value)}` : `the ${typeof value} ${String(value)}`;
}
