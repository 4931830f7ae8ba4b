/**
 * The plugin's configuration on stdin:
 *
 *     {"cniVersion", "name", "type": "flannel", "subnetFile", "dataDir", "delegate": {…}, "ipam": {…}, "runtimeConfig": {…}}
 *
 * Names of members count in any case, as they do for Go.
 */

import { ConfigError, messageOf } from "../base/error.ts";
import { isObject, isShallow, kindOf, type Members, readMember, readText } from "../config/json-members.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { type Attachment, isIdentifier } from "./parameters.ts";
import { CURRENT_VERSION, FIRST_VERSION, SUPPORTED_VERSIONS } from "./versions.ts";

const DEFAULT_SUBNET_FILE = "/run/flannel/subnet.env";
const DEFAULT_DATA_DIR = "/var/lib/cni/flannel";
/** Deepest nesting. A real config has some 6 levels. */
const MAX_DEPTH = 500;
/** The second is how libcni spelled it at first, and still sends it too. */
const VALID_ATTACHMENTS = ["cni.dev/valid-attachments", "cni.dev/attachments"];

export interface PluginConfig {
  /** Of the network. */
  readonly name: string;
  /** As given; undefined = not given, which means 0.1.0. */
  readonly cniVersion: string | undefined;
  readonly subnetFile: string;
  /** Where ADD keeps what DEL needs. */
  readonly dataDir: string;
  /** The delegate's config as far as it is given; it holds neither `name` nor `ipam`. */
  readonly delegate: Members;
  readonly ipam: Members;
  readonly runtimeConfig: Members | undefined;
  /** The chain's last result (CHECK, DEL). */
  readonly prevResult: Members | undefined;
  /** GC: what is to stay; undefined = not given. */
  readonly validAttachments: readonly Attachment[] | undefined;
}

/** The version to answer in, as far as the text gives one that is known; for errors about the text, too. */
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

/** Throws CniError if the text is not JSON, or says something that it cannot. */
export function parsePluginConfig(text: string): PluginConfig {
  const members = parseObject(text);
  try {
    return readConfig(members);
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
    const what = text.trim() === "" ? "standard input is empty" : messageOf(error);
    throw new CniError(CNI_CODE.decoding, `cannot read the network config on standard input: ${what}`);
  }
  if (!isShallow(value, MAX_DEPTH)) {
    throw new CniError(CNI_CODE.decoding, `the network config is nested deeper than ${MAX_DEPTH} levels`);
  }
  if (isObject(value)) return value;
  throw new CniError(CNI_CODE.decoding, `the network config must be a JSON object, but is ${kindOf(value)}`);
}

function readConfig(members: Members): PluginConfig {
  const name = readText(members, "name") ?? "";
  if (name === "") throw new ConfigError("missing network name: the network config needs a name");
  if (!isIdentifier(name)) {
    throw new ConfigError(
      `invalid characters found in network name ${JSON.stringify(name)}: letters, digits and _.- are possible`,
    );
  }
  return {
    name,
    cniVersion: readVersion(members),
    subnetFile: readText(members, "subnetFile") || DEFAULT_SUBNET_FILE,
    dataDir: readText(members, "dataDir") || DEFAULT_DATA_DIR,
    delegate: readDelegate(members),
    ipam: readObject(members, "ipam") ?? {},
    runtimeConfig: readObject(members, "runtimeConfig"),
    prevResult: readObject(members, "prevResult"),
    validAttachments: readAttachments(members),
  };
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
