/** How the running flanneld was started, read from its process: its flags, its datastore, and which values are secret. */

import { type ConfigFile, parseConfigFile } from "../../config/config-file.ts";
import type { ParsedFlags } from "../../config/flags.ts";
import { parseFlags } from "../../config/flags.ts";
import { describeFlags } from "../../config/flags-text.ts";
import { type FlanneldOptions, readOptions } from "../../config/options.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS, type FlanneldFlags } from "../../config/options-table.ts";
import type { OperatePorts } from "../operate-ports.ts";
import { findFlanneld } from "../running.ts";

/** A process of flanneld. */
export interface DaemonConfig {
  /** The command line with secrets hidden; undefined = flanneld does not run, or its flags cannot be read. */
  readonly described: string | undefined;
  readonly options: FlanneldOptions | undefined;
  /** Values that are secret wherever they appear. */
  readonly secrets: readonly string[];
}

/** Of the flanneld in this network namespace. Never throws. */
export async function readDaemonConfig(
  ports: Pick<OperatePorts, "processes" | "readFile">,
): Promise<DaemonConfig> {
  const daemon = findFlanneld(ports.processes());
  if (daemon === undefined) return { described: undefined, options: undefined, secrets: [] };
  const environment = environmentOf(ports.readFile(`/proc/${daemon.pid}/environ`) ?? "");
  // A process that has given itself a title has it as its only argument.
  const words = daemon.args.length === 1 ? daemon.args[0]!.split(" ") : daemon.args;
  const args = words.slice(words.findIndex((word) => /flanneld(\.[cm]?[jt]s)?$/.test(word)) + 1);
  const source = { variables: environment, prefix: ENVIRONMENT_PREFIX };
  const whole = parseFlags(FLANNELD_FLAGS, { args, environment: source });
  // A title is cut where the original arguments ended.
  const given = whole.type === "ok" ? args : args.slice(0, -1);
  const withoutFile = parseFlags(FLANNELD_FLAGS, { args: given, environment: source });
  const file = withoutFile.type === "ok" ? await readFileOf(withoutFile.flags, ports) : undefined;
  const parsed = parseFlags(FLANNELD_FLAGS, { args: given, environment: source, file: file?.values });
  const files = [environment.WIREGUARD_KEY_FILE ?? "/run/flannel/wgkey"];
  if (parsed.type !== "ok")
    return {
      ...{ described: words.join(" "), options: undefined },
      secrets: [...secretsOf(environment), ...readSecrets(files, ports)],
    };
  const { "etcd-password": password, "etcd-keyfile": keyFile } = parsed.flags.values;
  return {
    described: describeFlags(FLANNELD_FLAGS, parsed.flags),
    options: optionsOf(parsed.flags, environment),
    secrets: [...secretsOf(environment), password, ...readSecrets([...files, keyFile], ports)],
  };
}

/** Undefined = it has none, or what is there now cannot be read. */
async function readFileOf(
  { values }: ParsedFlags<FlanneldFlags>,
  { readFile }: Pick<OperatePorts, "readFile">,
): Promise<ConfigFile | undefined> {
  const path = values["config-file"];
  const text = path === "off" ? undefined : readFile(path);
  try {
    return text === undefined ? undefined : await parseConfigFile(text, path);
  } catch {
    return undefined;
  }
}

const readSecrets = (files: readonly string[], { readFile }: Pick<OperatePorts, "readFile">): string[] =>
  files.flatMap((file) => (file === "" ? [] : (readFile(file)?.trim() ?? [])));

function optionsOf(
  flags: ParsedFlags<FlanneldFlags>,
  environment: Readonly<Record<string, string>>,
): FlanneldOptions | undefined {
  try {
    return readOptions(flags, environment);
  } catch {
    return undefined;
  }
}

function environmentOf(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    text.split("\0").flatMap((entry) => {
      const at = entry.indexOf("=");
      return at < 1 ? [] : [[entry.slice(0, at), entry.slice(at + 1)]];
    }),
  );
}

const SECRET_NAME = /passw|secret|token|psk|private|credential/i;

const secretsOf = (environment: Readonly<Record<string, string>>): string[] =>
  Object.entries(environment).flatMap(([name, value]) => (SECRET_NAME.test(name) ? [value] : []));
