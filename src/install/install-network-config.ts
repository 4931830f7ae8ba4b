/**
 * Puts the CNI network config onto a host: checked before it replaces one that works, in one step (rename(2)), and not
 * touched when it is the same, as container runtimes read the directory anew at each change.
 */

import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { ConfigError, hasCode, messageOf } from "../base/error.ts";

export interface NetworkConfigPlaces {
  /** The config, a list of plugins in JSON. */
  readonly from: string;
  /** Its place on the host: "/etc/cni/net.d/10-flannel.conflist". */
  readonly to: string;
}

export interface InstallPorts {
  /** Replaces a file in one step. Throws FlannelError. */
  writeFile(path: string, text: string, mode: number): Promise<void>;
}

/** Installs the config; gives lines that say what was done, and what to know. Throws ConfigError, FlannelError. */
export async function installNetworkConfig(
  { from, to }: NetworkConfigPlaces,
  { writeFile }: InstallPorts,
): Promise<string[]> {
  const text = readConfig(from);
  const types = checkedPlugins(text, from);
  const isSame = readIfPresent(to) === text;
  if (!isSame) await writeFile(to, text, 0o644);
  const lines = [isSame ? `${to}: the config is there already` : `${to}: config installed`];
  if (!types.includes("flannel")) {
    lines.push(
      `${from} names no plugin of type "flannel" (${types.join(", ")}): pods get their network from others`,
    );
  }
  const rivals = configsBefore(to);
  if (rivals.length > 0) {
    lines.push(
      `${dirname(to)} also holds ${rivals.join(", ")}: container runtimes take the first file by name, so pods get that network ` +
        `and not flannel's; remove it, and what installs it, if that is not wanted`,
    );
  }
  return lines;
}

function readConfig(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new ConfigError(
      `cannot read the CNI config: ${messageOf(error)}; it is cni-conf.json of the ConfigMap`,
    );
  }
}

/** The types of the plugins. Throws ConfigError for what no runtime could use (CNI specification 1.0.0, section 1). */
function checkedPlugins(text: string, path: string): string[] {
  const refuse = (what: string): ConfigError =>
    new ConfigError(
      `${path} ${what}; expected like {"cniVersion": "0.3.1", "name": "cbr0", "plugins": [{"type": "flannel"}]}; correct ` +
        `cni-conf.json in the ConfigMap; the config on the node stays as it was`,
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

/** Other configs that a runtime would take before ours: by name, of the suffixes that libcni reads. */
const configsBefore = (path: string): string[] =>
  readdirSync(dirname(path))
    .filter((file) => /\.(?:conf|conflist|json)$/.test(file) && file < basename(path))
    .sort();

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}
