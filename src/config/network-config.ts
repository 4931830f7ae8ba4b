/**
 * The network config of a cluster: the JSON at `<prefix>/config` in etcd or in net-conf.json. This file reads the parts that
 * do not depend on the backend; backend/backends.ts adds the typed config of the backend. Keys match in any case, as in
 * Go's encoding/json, and of several spellings the last one counts; unknown keys are ignored; `null` counts as absent.
 * Every violation is a {@link ConfigError} that names the key and says what to write instead.
 *
 * Two things are accepted that Go refuses, because they do no harm: a byte order mark, and whole numbers written as 24.0
 * or 2.4e1.
 */

import type { Family } from "../address/ip.ts";
import { ConfigError } from "../base/error.ts";
import { isObject, kindOf, type Members, parseJson, readBoolean, readMember } from "./json-members.ts";
import { type Attempt, FAMILY_RULES, type FamilyConfig, parseFamily } from "./network-family.ts";

/** The networks from which hosts lease subnets, at least one; undefined = the family is disabled. */
export interface NetworkFamilies {
  readonly ipv4: FamilyConfig | undefined;
  readonly ipv6: FamilyConfig | undefined;
}

/** A network config whose `Backend` has not been read by its backend. */
export interface NetworkConfig extends NetworkFamilies {
  readonly enableNftables: boolean;
  readonly backend: BackendSection;
  /** For the operator (e.g. "network config has no Backend: …"), to be logged once by the caller. */
  readonly notes: readonly string[];
}

/** The `Backend` object: its type in lower case, and its other members, to be read with {@link readMember}. */
interface BackendSection {
  readonly type: string;
  readonly members: Members;
  /** The config names no type. */
  readonly isDefault?: true;
}

/** A config, or what is wrong with it. */
export interface CheckedConfig {
  readonly config: NetworkConfig | undefined;
  /** Its backend, also if something else is wrong. */
  readonly backend: BackendSection | undefined;
  /** The enabled families, IPv4 first, also if something is wrong with them: then as if only IPv4 were enabled. */
  readonly families: readonly Family[];
  /** In the order of the file's keys as documented; empty if there is a config. */
  readonly faults: readonly ConfigError[];
}

/** The backend of a config that names none, and why it is this one, as the end of "using vxlan, because …". */
export interface DefaultBackend {
  /** In lower case. */
  readonly type: string;
  readonly reason: string;
}

/** Where the leases are not known. */
const VXLAN: DefaultBackend = { type: "vxlan", reason: "no leases are known here, which decide at startup" };

/** Parses the text of a network config. Throws {@link ConfigError} for the first fault. */
export function parseNetworkConfig(json: string): NetworkConfig {
  const { config, faults } = checkNetworkConfig(json);
  if (config === undefined) throw faults[0]!;
  return config;
}

/** As {@link parseNetworkConfig}, with all faults at once: if there is any, there is no config. */
export function checkNetworkConfig(json: string, ifNone: DefaultBackend = VXLAN): CheckedConfig {
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
  if (members === undefined) return { config: undefined, backend: undefined, families: [4], faults };
  const enableIpv4 = attempt(() => readBoolean(members, FAMILY_RULES.ipv4.keys.enable, true));
  const enableIpv6 = attempt(() => readBoolean(members, FAMILY_RULES.ipv6.keys.enable, false));
  if (enableIpv4 === false && enableIpv6 === false) {
    faults.push(
      new ConfigError(
        "network config: EnableIPv4 is false and EnableIPv6 is not true; enable at least one of them",
      ),
    );
  }
  const families = enabledFamilies(enableIpv4, enableIpv6);
  const notes: string[] = [];
  const ipv4 = enableIpv4 ? parseFamily(members, FAMILY_RULES.ipv4, attempt) : undefined;
  const ipv6 = enableIpv6 ? parseFamily(members, FAMILY_RULES.ipv6, attempt) : undefined;
  const enableNftables = attempt(() => readBoolean(members, "EnableNFTables", false));
  const backend = attempt(() => parseBackend(members, ifNone, notes));
  if (faults.length > 0 || enableNftables === undefined || backend === undefined) {
    return { config: undefined, backend, families, faults };
  }
  return { backend, families, config: { ipv4, ipv6, enableNftables, backend, notes }, faults };
}

function enabledFamilies(ipv4 = true, ipv6 = false): readonly Family[] {
  if (ipv4) return ipv6 ? [4, 6] : [4];
  return ipv6 ? [6] : [4];
}

function parseObject(json: string): Members {
  let value: unknown;
  try {
    value = parseJson(json.replace(/^\uFEFF/, ""));
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

function parseBackend(members: Members, ifNone: DefaultBackend, notes: string[]): BackendSection {
  const backend = readMember(members, "Backend");
  const noteAbsence = (key: string) =>
    notes.push(`network config has no ${key}: using ${ifNone.type}, because ${ifNone.reason}`);
  if (backend === undefined) {
    noteAbsence("Backend");
    return { type: ifNone.type, members: {}, isDefault: true };
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
    noteAbsence("Backend.Type");
  }
  const others = Object.entries(backend).filter(([key]) => key.toLowerCase() !== "type");
  const written = { members: Object.fromEntries(others) };
  return type ? { type: type.toLowerCase(), ...written } : { type: ifNone.type, ...written, isDefault: true };
}
