/**
 * flanneld.yaml: every flag by its name, and the network config under `Network`, `Subnet` and `Backend`
 * (config/declared-network.ts). All faults are reported at once, each with its line; values that may be secret are never
 * quoted.
 */

import { statSync } from "node:fs";
import { ConfigError, hasCode, isNotFound, messageOf } from "../base/error.ts";
import { readRegularFile } from "../base/regular-file.ts";
import {
  type DeclaredNetwork,
  hasSecretMember,
  NETWORK_KEYS,
  readDeclaredNetwork,
} from "./declared-network.ts";
import type { FileValue, FlagSpec, FlagTable, ParsedFlags } from "./flags.ts";
import { suggest } from "./nearest-name.ts";
import type { CONFIG_FILE_FLAG } from "./options-program-table.ts";
import { FLANNELD_FLAGS } from "./options-table.ts";
import { parseYaml, type YamlFault, type YamlNode } from "./yaml-tree.ts";

/** What a file says. */
export interface ConfigFile {
  readonly path: string;
  /** Values of flags, in the order of the file. */
  readonly values: readonly FileValue[];
  /** Undefined = it says nothing about the network. */
  readonly network: DeclaredNetwork | undefined;
}

const MAX_BYTES = 1024 * 1024;
/** Of the mode of a file (inode(7)). */
const OTHERS_READ = 0o004;
const OTHERS_WRITE = 0o002;
/** They say what the program is to do, or which file to read. */
const NOT_IN_FILES: readonly string[] = ["version", "config-file"];

/**
 * The file that `--config-file` names, else the default one if it exists; undefined = none. Throws ConfigError with one
 * line for each fault; its cause has the code EACCES if this user may not read it.
 */
export async function readConfigFile(
  flags: ParsedFlags<typeof CONFIG_FILE_FLAG>,
): Promise<ConfigFile | undefined> {
  const path = flags.values["config-file"];
  const source = flags.sources["config-file"];
  if (path === "off" || path === "") return undefined;
  let text: string;
  let mode: number;
  try {
    text = readRegularFile(path, MAX_BYTES);
    mode = statSync(path).mode;
  } catch (error) {
    if (source === undefined && isNotFound(error)) return undefined;
    const named = source === undefined ? "" : `${source}: `;
    const reason = `${named}failed to read ${path}: ${messageOf(error)}`;
    throw new ConfigError(`${reason}; --config-file=off reads none`, { cause: error });
  }
  return parseConfigFile(text, path, mode);
}

/** Whether the file exists and this user may not read it. */
export const isUnreadable = (error: unknown): boolean =>
  error instanceof ConfigError && (hasCode(error.cause, "EACCES") || hasCode(error.cause, "EPERM"));

/** Parses the text of a file with this mode (inode(7)). Throws ConfigError with one line for each fault. */
export async function parseConfigFile(text: string, path: string, mode = 0o600): Promise<ConfigFile> {
  const { root, faults } = await parseYaml(text);
  const file = root && readRoot(root, path, faults);
  if (file !== undefined) faults.push(...faultsOfMode(file, mode));
  if (file !== undefined && faults.length === 0) return file;
  const texts = faults
    .toSorted((a, b) => a.line - b.line)
    .map(({ line, complaint }) => `${path}:${line}: ${complaint}`);
  throw new ConfigError([...new Set(texts)].join("\n"));
}

function readRoot(root: YamlNode, path: string, faults: YamlFault[]): ConfigFile {
  if (root.type === "null") return { path, values: [], network: undefined };
  if (root.type !== "map") {
    faults.push({
      line: root.line,
      complaint: "has no settings; write e.g. etcd-endpoints: http://127.0.0.1:2379",
    });
  }
  const values: FileValue[] = [];
  const network = new Map<string, YamlNode>();
  for (const [name, node] of root.members) {
    const complain = (complaint: string): void => void faults.push({ line: node.line, complaint });
    const spec = Object.hasOwn(FLANNELD_FLAGS, name) ? (FLANNELD_FLAGS as FlagTable)[name] : undefined;
    if (NETWORK_KEYS.includes(name)) network.set(name, node);
    else if (spec === undefined) complain(describeUnknown(name));
    else if (spec.commandLineOnly || NOT_IN_FILES.includes(name))
      complain(`${name}: is for the command line only`);
    else {
      const texts = readTexts(node, spec);
      if (typeof texts === "string") complain(`${name}: ${texts}`);
      else values.push({ name, texts, source: `${path}:${node.line}` });
    }
  }
  const flag = root.members.get("network");
  if (flag !== undefined && network.size > 0) {
    const complaint =
      "network: is the flag --network, beside Network:, Subnet: or Backend: in this file; leave it out";
    faults.push({ line: flag.line, complaint });
  }
  return { path, values, network: readDeclaredNetwork(network, path, faults) };
}

function describeUnknown(name: string): string {
  const near = suggest(name, [...Object.keys(FLANNELD_FLAGS), ...NETWORK_KEYS]);
  const hint = near === undefined ? "; flanneld --help lists all" : ` (did you mean ${near}?)`;
  return `no setting is called ${JSON.stringify(name.slice(0, 60))}${hint}`;
}

/** The values as on the command line, or what is wrong with them. */
function readTexts(node: YamlNode, spec: FlagSpec): string[] | string {
  const { kind } = spec;
  switch (node.type) {
    case "null":
      return "has no value: write one, or leave the line out";
    case "map":
      return "takes no members";
    case "list":
      if (kind !== "list" && kind !== "repeatable") return "takes one value, not a list";
      if (!node.items.every(isText)) return "every item must be text; put it in quotes";
      return kind === "list"
        ? [node.items.map(({ text }) => text).join(",")]
        : node.items.map(({ text }) => text);
  }
  if (kind === "bool") {
    return node.type === "boolean" ? [String(node.value)] : "must be true or false, without quotes";
  }
  if (kind === "int") {
    return Number.isSafeInteger(node.value) ? [String(node.value)] : "must be a whole number, without quotes";
  }
  return isText(node) ? [node.text] : "must be text; put it in quotes";
}

const isText = ({ type }: YamlNode): boolean => type === "text" || type === "number";

/** Who may read secrets, and who may change what a daemon with the rights of root does. */
function* faultsOfMode({ path, values, network }: ConfigFile, mode: number): Generator<YamlFault> {
  if ((mode & OTHERS_WRITE) !== 0) {
    yield { line: 1, complaint: `every user of this host can change this file: chmod o-w ${path}` };
  }
  if ((mode & OTHERS_READ) === 0) return;
  const remedy = `every user of this host can read this secret: chmod 600 ${path}`;
  for (const { name, texts, source } of values) {
    const isSecret = texts.some((text) => (isSecretFlag(name) ? text !== "" : /:\/\/\S*:\S*@/.test(text)));
    if (isSecret) yield { line: lineOf(source), complaint: `${name}: ${remedy}, or give it as a variable` };
  }
  const backend = network?.stated.Backend;
  if (backend !== undefined && hasSecretMember(backend.value)) {
    yield { line: lineOf(backend.source), complaint: `Backend: ${remedy}` };
  }
}

const isSecretFlag = (name: string): boolean => (FLANNELD_FLAGS as FlagTable)[name]?.secret === true;

const lineOf = (source: string): number => Number(/\d+$/.exec(source)?.[0]);
