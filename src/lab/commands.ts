/** `flannelctl lab …`: flags, and what is printed. */

import { readFileSync } from "node:fs";
import { type Prefix, parsePrefix } from "../address/prefix.ts";
import { ConfigError, messageOf } from "../base/error.ts";
import { type Command, type CommandContext, defineCommand, defineGroup } from "../config/command.ts";
import type { FlagTable, ParsedFlags } from "../config/flags.ts";
import { down } from "./down.ts";
import { execOnNode, findNode } from "./exec.ts";
import { formatPings, pingAll } from "./ping.ts";
import { requireRoot, requireTools } from "./requirements.ts";
import { describeLabs, requireState } from "./state.ts";
import { formatStatus, readStatus } from "./status.ts";
import { checkLabName } from "./topology.ts";
import { defaultNetworkConfig, up } from "./up.ts";

const DEFAULT_NAME = "lab";
const NAME = {
  name: { kind: "string", value: "name", default: DEFAULT_NAME, help: "which lab" },
} as const satisfies FlagTable;

const UP = {
  ...NAME,
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
    help: "the hosts' own network",
  },
  etcd: { kind: "bool", default: true, help: "a real etcd as datastore, the only one so far" },
  flanneld: {
    kind: "string",
    value: "file",
    help: "flanneld to run, by default the one beside this program",
  },
  keep: { kind: "bool", help: "leave everything as it is if something fails" },
} as const satisfies FlagTable;

/** The commands of `flannelctl lab`; `flanneld` is the path of the one that goes with this program. */
export const labCommands = (flanneld: string): Command =>
  defineGroup("Hosts as network namespaces on this machine, each with flanneld and a container.", {
    up: defineCommand({
      summary: "make a lab",
      synopsis: "[flags] [-- flags for every flanneld]",
      flags: UP,
      takes: { rest: true },
      run: (flags, context) => runUp(flags, context, flanneld),
    }),
    status: defineCommand({
      summary: "show its hosts and whether they live",
      synopsis: "[flags]",
      flags: NAME,
      run: runStatus,
    }),
    ping: defineCommand({
      summary: "ping every container from every other and from every host",
      synopsis: "[flags]",
      flags: { ...NAME, count: { kind: "int", value: "number", default: 3, help: "packets on each way" } },
      run: ({ values }, context) => runPing(values.name, values.count, context),
    }),
    exec: defineCommand({
      summary: "run a command on a host (h1, h2…), in a container (h1-c1…) or on the hub",
      synopsis: "<node> [flags] -- command [arguments]",
      flags: { ...NAME, container: { kind: "bool", help: "in the host's first container" } },
      takes: { words: true, rest: true },
      run: runExec,
    }),
    down: defineCommand({
      summary: "remove it",
      synopsis: "[flags]",
      flags: NAME,
      run: ({ values }, context) => runDown(values.name, context),
    }),
  });

async function runUp(
  { values, sources, rest }: ParsedFlags<typeof UP>,
  { print, program }: CommandContext,
  ownFlanneld: string,
): Promise<number> {
  if (!values.etcd) throw new ConfigError("--etcd: there is no other datastore so far");
  const startedMs = performance.now();
  const abort = new AbortController();
  const stop = (signal: NodeJS.Signals): void => abort.abort(new ConfigError(`ended by ${signal}`));
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    const options = {
      name: values.name,
      hosts: values.hosts,
      underlay: readPrefix(values.underlay, "--underlay"),
      networkConfig:
        values.config === ""
          ? defaultNetworkConfig(values.network, values.backend)
          : readConfig(values.config, sources),
      flanneld: values.flanneld || ownFlanneld,
      flanneldFlags: rest,
      keep: values.keep,
    };
    const { topology } = await up(options, print, abort.signal);
    const name = topology.name === DEFAULT_NAME ? "" : ` --name ${topology.name}`;
    print(
      `Lab "${topology.name}" is up after ${((performance.now() - startedMs) / 1000).toFixed(1)} s. Try:`,
    );
    print(`  ${program} lab ping${name}`);
    print(`  ${program} lab exec h1${name} -- ip route`);
    print(`  ${program} lab exec h1 --container${name} -- ip address`);
    print(`  ${program} lab down${name}`);
    return 0;
  } finally {
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
}

async function runStatus({ values }: ParsedFlags<typeof NAME>, { print }: CommandContext): Promise<number> {
  checkLabName(values.name);
  const status = readStatus(requireState(values.name));
  formatStatus(status).forEach(print);
  return status.isGood ? 0 : 1;
}

async function runPing(name: string, count: number, { print }: CommandContext): Promise<number> {
  checkLabName(name);
  if (count < 1 || count > 1000) throw new ConfigError(`--count: must be within 1…1000, but is ${count}`);
  requireRoot();
  requireTools(["ping"]);
  const results = await pingAll(requireState(name).topology, count);
  formatPings(results).forEach(print);
  const failed = results.filter(({ rttMs }) => rttMs === undefined).length;
  print(
    failed === 0 ? `All ${results.length} ways work (ms).` : `${failed} of ${results.length} ways failed.`,
  );
  return failed === 0 ? 0 : 1;
}

async function runExec({
  values,
  positional,
  rest,
}: ParsedFlags<{ readonly container: { kind: "bool"; help: string } } & typeof NAME>): Promise<number> {
  checkLabName(values.name);
  requireRoot();
  const [node, ...words] = positional;
  if (node === undefined) throw new ConfigError("no host given: write e.g. h1 -- ip address");
  if (words.length > 0) throw new ConfigError(`write the command after --: -- ${words.join(" ")}`);
  return execOnNode(findNode(requireState(values.name).topology, node, values.container), rest);
}

async function runDown(name: string, { print }: CommandContext): Promise<number> {
  checkLabName(name);
  requireRoot();
  const existed = await down(name);
  print(existed ? `Lab "${name}" is removed.` : `There is no lab "${name}"; ${describeLabs()}.`);
  return 0;
}

function readConfig(file: string, sources: ParsedFlags<typeof UP>["sources"]): string {
  const other = sources.backend ?? sources.network;
  if (other !== undefined)
    throw new ConfigError(`${other} and --config exclude each other: write it into ${file}`);
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`--config: cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}

function readPrefix(text: string, flag: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined)
    throw new ConfigError(`${flag}: ${JSON.stringify(text)} is not a network like 10.0.0.0/24`);
  return prefix;
}
