/** `flannelctl lab up`: its flags, and what it says. */

import { readFileSync } from "node:fs";
import { type Prefix, parsePrefix } from "../address/prefix.ts";
import { ConfigError, messageOf } from "../base/error.ts";
import { type Command, type CommandContext, defineCommand } from "../config/command.ts";
import type { FlagTable, FlagValues, ParsedFlags } from "../config/flags.ts";
import { DEFAULT_LAB } from "./topology.ts";
import { up } from "./up.ts";

const UP = {
  name: { kind: "string", value: "name", default: DEFAULT_LAB, help: "name of the lab" },
  hosts: { kind: "int", value: "number", default: 3, help: "how many hosts" },
  backend: { kind: "string", value: "type", default: "vxlan", help: "the network config's backend" },
  network: { kind: "string", value: "prefix", default: "10.5.0.0/16", help: "the network config's network" },
  config: {
    kind: "string",
    value: "file",
    help: "the whole network config (JSON), instead of --backend and --network",
  },
  underlay: {
    kind: "string",
    value: "prefix",
    default: "192.168.64.0/24",
    help: "the network that the hosts are in",
  },
  etcd: { kind: "bool", default: true, help: "a real etcd as datastore, the only one so far" },
  flanneld: {
    kind: "string",
    value: "file",
    help: "flanneld to run, by default the one beside this program",
  },
  keep: { kind: "bool", help: "leave everything as it is if something fails" },
  hints: { kind: "bool", default: true, help: "say at the end what to try next" },
} as const satisfies FlagTable;

/** `ownFlanneld`: path of the flanneld that goes with this program. */
export const upCommand = (ownFlanneld: string): Command =>
  defineCommand({
    summary: "make a lab",
    synopsis: "[flags] [-- flags for every flanneld]",
    flags: UP,
    takes: { rest: true },
    run: (flags, context) => runUp(flags, context, ownFlanneld),
  });

async function runUp(
  { values, sources, rest }: ParsedFlags<typeof UP>,
  context: CommandContext,
  ownFlanneld: string,
): Promise<number> {
  if (!values.etcd) throw new ConfigError("--etcd: there is no other datastore so far");
  const other = sources.backend ?? sources.network;
  if (values.config !== "" && other !== undefined) {
    throw new ConfigError(`${other} and --config exclude each other: write it into ${values.config}`);
  }
  const options = {
    name: values.name,
    hosts: values.hosts,
    underlay: readPrefix(values.underlay, "--underlay"),
    networkConfig: values.config === "" ? composeConfig(values) : readConfig(values.config),
    flanneld: values.flanneld || ownFlanneld,
    flanneldFlags: rest,
    keep: values.keep,
  };
  const startedMs = performance.now();
  const abort = new AbortController();
  const stop = (signal: NodeJS.Signals): void => abort.abort(new ConfigError(`ended by ${signal}`));
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    await up(options, context.print, abort.signal);
  } finally {
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  context.print(`Lab "${options.name}" is up after ${seconds} s.`);
  if (values.hints) hints(context.program, options.name).forEach(context.print);
  return 0;
}

const hints = (program: string, name: string): string[] => [
  "Try:",
  `  ${program} lab ping`,
  `  ${program} lab exec h1 -- ip route`,
  `  ${program} lab exec h1 --container -- ip address`,
  `  ${program} lab down${name === DEFAULT_LAB ? "" : ` --name ${name}`}`,
];

function composeConfig({ network, backend }: FlagValues<typeof UP>): string {
  readPrefix(network, "--network");
  return JSON.stringify({ Network: network, Backend: { Type: backend } });
}

function readConfig(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`--config: cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}

function readPrefix(text: string, flag: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) return prefix;
  throw new ConfigError(`${flag}: ${JSON.stringify(text)} is not a network like 10.5.0.0/16`);
}
