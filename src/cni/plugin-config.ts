/**
 * The plugin's configuration on stdin:
 *
 *     {"cniVersion", "name", "type": "flannel", "subnetFile", "dataDir", "delegate": {…}, "ipam": {…}, "runtimeConfig": {…},
 *      "failClosed", "policySocket"}
 *
 * Names of members are matched in any case, as in Go. DEL, CHECK and GC work by what ADD has stored, so that for them an
 * invalid member is an error only if it is used ({@link PluginConfig.fault}).
 */

import { ConfigError } from "../base/error.ts";
import {
  isObject,
  isShallow,
  kindOf,
  type Members,
  readBoolean,
  readMember,
  readText,
} from "../config/json-members.ts";
import { policySocketOf } from "../config/policy-socket.ts";
import { CNI_CODE, CniError, reasonOf } from "./cni-error.ts";
import { type Attachment, isIdentifier } from "./parameters.ts";
import { CURRENT_VERSION, FIRST_VERSION, SUPPORTED_VERSIONS } from "./versions.ts";

const DEFAULT_SUBNET_FILE = "/run/flannel/subnet.env";
const DEFAULT_DATA_DIR = "/var/lib/cni/flannel";
/** Deepest nesting. Real configs have about 6 levels. */
const MAX_DEPTH = 500;
/** The second is libcni's first spelling, which it still sends as well. */
const VALID_ATTACHMENTS = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/** The checked configuration. */
export interface PluginConfig {
  /** Of the network. */
  readonly name: string;
  /** As given; undefined = not given, that is 0.1.0. */
  readonly cniVersion: string | undefined;
  readonly subnetFile: string;
  /** Where ADD stores the delegate's config for DEL. */
  readonly dataDir: string;
  /** The given part of the delegate's config, without `name` and `ipam`. */
  readonly delegate: Members;
  readonly ipam: Members;
  readonly runtimeConfig: Members | undefined;
  /** Whether ADD fails if the pod's network policies are not in effect; undefined = they are not waited for. */
  readonly failClosed: boolean | undefined;
  /** Where flanneld is asked for them. */
  readonly policySocket: string;
  /** The result of the chain's ADD (CHECK, DEL). */
  readonly prevResult: Members | undefined;
  /** GC: the attachments to keep; undefined = not given. */
  readonly validAttachments: readonly Attachment[] | undefined;
  /** The first invalid member, which counts as absent here: no delegate's config can be made. undefined = all are valid. */
  readonly fault: CniError | undefined;
}

/** The version to answer in: the config's if it is supported, else the newest. Never throws. */
export function versionOf(text: string): string {
  try {
    const config: unknown = JSON.parse(text);
    if (!isObject(config)) return CURRENT_VERSION;
    const version = readMember(config, "cniVersion") ?? FIRST_VERSION;
    return SUPPORTED_VERSIONS.find((supported) => supported === version) ?? CURRENT_VERSION;
  } catch {
    return CURRENT_VERSION;
  }
}

/**
 * Parses the configuration. Throws CniError: always for text that is not a JSON object and for members that every command
 * needs (cniVersion, subnetFile, dataDir, GC's attachments); for other invalid members only if `isStrict`.
 */
export function parsePluginConfig(text: string, isStrict = true): PluginConfig {
  const members = parseObject(text);
  try {
    const config = readConfig(members);
    if (isStrict && config.fault !== undefined) throw config.fault;
    return config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CniError(CNI_CODE.invalidConfig, error.message, "", { cause: error });
  }
}

function parseObject(text: string): Members {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const what = text.trim() === "" ? "standard input is empty" : reasonOf(error);
    throw new CniError(CNI_CODE.decoding, `cannot read the network config on standard input: ${what}`);
  }
  if (!isShallow(value, MAX_DEPTH)) {
    throw new CniError(CNI_CODE.decoding, `the network config is nested deeper than ${MAX_DEPTH} levels`);
  }
  if (isObject(value)) return value;
  throw new CniError(CNI_CODE.decoding, `the network config must be a JSON object, but is ${kindOf(value)}`);
}

function readConfig(members: Members): PluginConfig {
  let fault: CniError | undefined;
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      fault ??= new CniError(CNI_CODE.invalidConfig, error.message, "", { cause: error });
      return undefined;
    }
  };
  const subnetFile = readText(members, "subnetFile") || DEFAULT_SUBNET_FILE;
  const config = {
    name: attempt(() => readName(members)) ?? "",
    cniVersion: readVersion(members),
    subnetFile,
    dataDir: readText(members, "dataDir") || DEFAULT_DATA_DIR,
    delegate: attempt(() => readDelegate(members)) ?? {},
    ipam: attempt(() => readObject(members, "ipam")) ?? {},
    runtimeConfig: attempt(() => readObject(members, "runtimeConfig")),
    failClosed: attempt(() => readFailClosed(members)),
    policySocket: readText(members, "policySocket") || policySocketOf(subnetFile),
    prevResult: attempt(() => readObject(members, "prevResult")),
    validAttachments: readAttachments(members),
  };
  return { ...config, fault };
}

function readName(members: Members): string {
  const name = readText(members, "name") ?? "";
  if (name === "") throw new ConfigError("missing network name: the network config needs a name");
  if (isIdentifier(name)) return name;
  throw new ConfigError(
    `invalid characters found in network name ${JSON.stringify(name)}: letters, digits and _.- are possible`,
  );
}

function readVersion(members: Members): string | undefined {
  const version = readMember(members, "cniVersion") ?? "";
  if (typeof version === "string") return version === "" ? undefined : version;
  throw new CniError(
    CNI_CODE.decoding,
    `network config: cniVersion must be a string in quotes, but is ${kindOf(version)}`,
  );
}

function readDelegate(members: Members): Members {
  const delegate = readObject(members, "delegate") ?? {};
  if (Object.hasOwn(delegate, "type") && typeof delegate.type !== "string") {
    throw new ConfigError(
      `'delegate' dictionary, if present, must have (string) 'type' field, but it is ${kindOf(delegate.type)}`,
    );
  }
  for (const key of ["name", "ipam"]) {
    if (!Object.hasOwn(delegate, key)) continue;
    const instead = key === "ipam" ? "; put 'ipam' beside 'delegate'" : "";
    throw new ConfigError(
      `'delegate' dictionary must not have '${key}' field, it'll be set by flannel${instead}`,
    );
  }
  return delegate;
}

function readObject(members: Members, key: string): Members | undefined {
  const value = readMember(members, key);
  if (value === undefined || isObject(value)) return value;
  throw new ConfigError(`network config: ${key} must be an object, but is ${kindOf(value)}`);
}

const readFailClosed = (members: Members): boolean | undefined =>
  readMember(members, "failClosed") === undefined ? undefined : readBoolean(members, "failClosed", false);

function readAttachments(members: Members): Attachment[] | undefined {
  const key = VALID_ATTACHMENTS.find((name) => Object.hasOwn(members, name));
  if (key === undefined) return undefined;
  const list = members[key] ?? []; // Go's empty list may be null
  if (!Array.isArray(list)) throw new ConfigError(`${key} must be a list, but is ${kindOf(list)}`);
  return list.map((item: unknown) => {
    const { containerID, ifname } = isObject(item) ? item : {};
    if (typeof containerID === "string" && typeof ifname === "string")
      return { containerId: containerID, ifName: ifname };
    throw new ConfigError(`${key} must hold objects with the strings containerID and ifname`);
  });
}
