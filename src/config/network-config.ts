/**
 * The network config of a cluster: the JSON at `<prefix>/config` in etcd or in net-conf.json, parsed, defaulted and
 * validated. Keys match whatever their case, as Go's encoding/json does it; unknown keys are ignored; `null` counts as
 * absent. Every violation is a {@link ConfigError} that names the key and says what to write instead.
 */

import type { Prefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { isObject, kindOf, type Members, readBoolean, readMember } from "./json-members.ts";
import { type Attempt, IPV4_RULES, IPV6_RULES, parseFamily } from "./network-family.ts";

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
  readonly members: Members;
}

/** A config, or what is wrong with it. */
export interface CheckedConfig {
  readonly config: NetworkConfig | undefined;
  /** Its backend, also if something else is wrong. */
  readonly backend: BackendConfig | undefined;
  /** In the order of the file's keys as documented; empty if there is a config. */
  readonly faults: readonly ConfigError[];
}

const DEFAULT_BACKEND = "vxlan";

/** Parses the text of a network config. Throws {@link ConfigError} for the first fault. */
export function parseNetworkConfig(json: string): NetworkConfig {
  const { config, faults } = checkNetworkConfig(json);
  if (config === undefined) throw faults[0]!;
  return config;
}

/** As {@link parseNetworkConfig}, with all faults at once: if there is any, there is no config. */
export function checkNetworkConfig(json: string): CheckedConfig {
  const faults: ConfigError[] = [];
  const attempt: Attempt = (read) => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      faults.push(error);
      return undefined;
    }
  };
  const members = attempt(() => parseObject(json));
  if (members === undefined) return { config: undefined, backend: undefined, faults };
  const enableIpv4 = attempt(() => readBoolean(members, "EnableIPv4", true));
  const enableIpv6 = attempt(() => readBoolean(members, "EnableIPv6", false));
  if (enableIpv4 === false && enableIpv6 === false) {
    faults.push(
      new ConfigError(
        "network config: EnableIPv4 is false and EnableIPv6 is not true; enable at least one of them",
      ),
    );
  }
  const notes: string[] = [];
  const ipv4 = enableIpv4 ? parseFamily(members, IPV4_RULES, attempt) : undefined;
  const ipv6 = enableIpv6 ? parseFamily(members, IPV6_RULES, attempt) : undefined;
  const enableNftables = attempt(() => readBoolean(members, "EnableNFTables", false));
  const backend = attempt(() => parseBackend(members, notes));
  if (faults.length > 0 || enableNftables === undefined || backend === undefined) {
    return { config: undefined, backend, faults };
  }
  return { backend, config: { ipv4, ipv6, enableNftables, backend, notes }, faults };
}

function parseObject(json: string): Members {
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

function parseBackend(members: Members, notes: string[]): BackendConfig {
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
