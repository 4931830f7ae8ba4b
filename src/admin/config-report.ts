/** A network config for operators: all its faults, and its effective values. */

import { FAMILIES } from "../address/family.ts";
import { formatIp } from "../address/ip.ts";
import { baseOf, formatPrefix, sizeOf } from "../address/prefix.ts";
import { type Backend, NO_KEYS } from "../backend/backend.ts";
import { checkNetwork, chooseBackend, createBackend } from "../backend/backends.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import { FAMILY_RULES, type FamilyConfig, type FamilyRules } from "../config/network-family.ts";
import type { Lease } from "../lease/lease.ts";

export interface ConfigReport {
  /** Undefined if there is any fault. */
  readonly network: NetworkConfig | undefined;
  /** The backend as a host would have it; undefined if there is any fault. */
  readonly backend: Backend | undefined;
  /** Every fault of the network's part, and the first of the backend's. */
  readonly faults: readonly string[];
  /** Notes for the operator. */
  readonly notes: readonly string[];
}

/** Checks the text of a config as flanneld will where these leases exist, if they are known. Never throws. */
export function reportConfig(text: string, leases?: Iterable<Lease>): ConfigReport {
  const { network, config, faults } = checkNetwork(text, leases && chooseBackend(text, leases));
  const randomBytes = (count: number): Uint8Array => new Uint8Array(count);
  const backend = network && createBackend(network, { existing: [], randomBytes, keys: NO_KEYS });
  return {
    network: config,
    backend,
    faults: faults.map(({ message }) => message),
    notes: [...(network?.notes ?? []), ...(backend?.notes ?? [])],
  };
}

/** The text of a config, valid or not, with its preshared and access keys replaced by "***". */
export const hideSecrets = (text: string): string =>
  text.replace(/("(?:PSK|AccessKeySecret)"\s*:\s*)"(?:[^"\\]|\\.)*"?/gi, '$1"***"');

/** "10.5.0.0/16 in 255 subnets of /24 (10.5.1.0 to 10.5.255.0), backend vxlan". */
export function describeConfig({ ipv4, ipv6, backend, enableNftables }: NetworkConfig): string {
  const families = [ipv4, ipv6].filter((family) => family !== undefined).map(describeFamily);
  return [...families, `backend ${backend.type}`, ...(enableNftables ? ["nftables"] : [])].join(", ");
}

function describeFamily({ network, subnetLength, subnetMin, subnetMax }: FamilyConfig): string {
  const count = (subnetMax.base - subnetMin.base) / sizeOf(subnetMin) + 1n;
  const range = `${formatIp(baseOf(subnetMin))} to ${formatIp(baseOf(subnetMax))}`;
  return `${formatPrefix(network)} in ${count} subnets of /${subnetLength} (${range})`;
}

/** The config as JSON with every default filled in, keys as documented. */
export function effectiveConfig(config: NetworkConfig): unknown {
  const { enableNftables, backend } = config;
  return {
    ...Object.fromEntries(
      FAMILIES.map(({ name }) => [FAMILY_RULES[name].keys.enable, config[name] !== undefined]),
    ),
    ...Object.assign({}, ...FAMILIES.map(({ name }) => effectiveFamily(config[name], FAMILY_RULES[name]))),
    EnableNFTables: enableNftables,
    Backend: { Type: backend.type, ...backend.members },
  };
}

function effectiveFamily(family: FamilyConfig | undefined, { keys }: FamilyRules): Record<string, unknown> {
  if (family === undefined) return {};
  return {
    [keys.network]: formatPrefix(family.network),
    [keys.length]: family.subnetLength,
    [keys.min]: formatIp(baseOf(family.subnetMin)),
    [keys.max]: formatIp(baseOf(family.subnetMax)),
  };
}
