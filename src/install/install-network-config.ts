/**
 * Installs the CNI network config on a host: checked before it replaces a working one, in one step (rename(2)), and left
 * alone if it is unchanged, because container runtimes reload the directory at each change.
 */

import { readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { ConfigError, messageOf } from "../base/error.ts";
import { readRegularFile } from "../base/regular-file.ts";

/** A ConfigMap holds at most 1 MiB. */
const MAX_BYTES = 1024 * 1024;

/** Source and target. */
export interface NetworkConfigPlaces {
  /** The config, a list of plugins in JSON. */
  readonly from: string;
  /** The file on the host: "/etc/cni/net.d/10-flannel.conflist". */
  readonly to: string;
}

/** What the installation uses of the system. */
export interface InstallPorts {
  /** Replaces a file in one step. Throws FlannelError. */
  writeFile(path: string, text: string, mode: number): Promise<void>;
}

/** Installs the config; returns lines about what was done and what to check. Throws ConfigError for an invalid config, FlannelError. */
export async function installNetworkConfig(
  { from, to }: NetworkConfigPlaces,
  { writeFile }: InstallPorts,
): Promise<string[]> {
  const text = readConfig(from);
  const types = checkedPlugins(text, from);
  const isSame = readIfPresent(to) === text;
  if (!isSame) await writeFile(to, text, 0o644);
  const lines = [isSame ? `${to}: config is already installed` : `${to}: config installed`];
  if (!types.includes("flannel")) {
    lines.push(
      `${from} names no plugin of type "flannel" (${types.join(", ")}): pods do not get their network from flannel`,
    );
  }
  const rivals = configsBefore(to);
  if (rivals.length > 0) {
    lines.push(
      `${dirname(to)} also contains ${rivals.join(", ")}: container runtimes use the first file by name, so pods get that ` +
        "network and not flannel's; remove it, and what installs it, if that is not intended",
    );
  }
  return lines;
}

function readConfig(path: string): string {
  try {
    return readRegularFile(path, MAX_BYTES);
  } catch (error) {
    throw new ConfigError(
      `failed to read the CNI config: ${messageOf(error)}; it is cni-conf.json of the ConfigMap`,
    );
  }
}

/** The types of the plugins. Throws ConfigError for a config that no runtime could use (CNI specification 1.0.0, section 1). */
function checkedPlugins(text: string, path: string): string[] {
  const refuse = (what: string): ConfigError =>
    new ConfigError(
      `${path} ${what}; expected like {"cniVersion": "0.3.1", "name": "cbr0", "plugins": [{"type": "flannel"}]}; correct ` +
        `cni-conf.json in the ConfigMap; the config on the node is unchanged`,
    );
  let config: { cniVersion?: unknown; name?: unknown; plugins?: unknown } | null;
  try {
    config = JSON.parse(text);
  } catch {
    throw refuse("is not valid JSON");
  }
  if (typeof config !== "object" || config === null) throw refuse("is not a JSON object");
  for (const key of ["cniVersion", "name"] as const) {
    if (typeof config[key] !== "string" || config[key] === "") throw refuse(`has no text for "${key}"`);
  }
  const { plugins } = config;
  if (!Array.isArray(plugins) || plugins.length === 0) throw refuse('has no list of "plugins"');
  return plugins.map((plugin: { type?: unknown } | null) => {
    if (typeof plugin?.type !== "string" || plugin.type === "") throw refuse('has a plugin without "type"');
    return plugin.type;
  });
}

/** Other configs that a runtime would use instead of this one: earlier by name, with a suffix that libcni reads. */
const configsBefore = (path: string): string[] =>
  readdirSync(dirname(path))
    .filter((file) => /\.(?:conf|conflist|json)$/.test(file) && file < basename(path))
    .sort();

function readIfPresent(path: string): string | undefined {
  try {
    return readRegularFile(path, MAX_BYTES);
  } catch {
    return undefined; // nothing that could be the same
  }
}
