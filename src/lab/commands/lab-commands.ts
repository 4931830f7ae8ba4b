/** `flannelctl lab …`: flags, and what is printed. */

import { ConfigError } from "../../base/error.ts";
import { type Command, type CommandContext, defineCommand, defineGroup } from "../../config/command.ts";
import type { FlagTable } from "../../config/flags.ts";
import { formatOutput, OUTPUT_FLAGS } from "../../config/output-format.ts";
import type { Programs } from "../clusters/cluster.ts";
import { serveAwsCommand } from "../clusters/serve-aws.ts";
import { serveKubeApiCommand } from "../clusters/serve-kube-api.ts";
import { notesOn } from "../plan/lab-plan.ts";
import { requireRoot, requireTools } from "../plan/requirements.ts";
import { checkLabName, DEFAULT_LAB } from "../plan/topology.ts";
import { describeLabs, type LabState, requireState } from "../record/lab-state.ts";
import { addHost, dropHost } from "./change.ts";
import { down } from "./down.ts";
import { execOnNode, findNode } from "./exec-on-node.ts";
import { formatPings, pingAll } from "./ping.ts";
import { formatStatus, type NodeStatus, readStatus } from "./status.ts";
import { untilSignal, upCommand } from "./up-command.ts";

const NAME = {
  name: { kind: "string", value: "name", help: "which lab, if there are several" },
} as const satisfies FlagTable;

/** The commands of `flannelctl lab`. */
export const labCommands = (programs: Programs): Command =>
  defineGroup("Hosts as network namespaces on this machine, each with flanneld and a container.", {
    up: upCommand(programs),
    status: defineCommand({
      summary: "show its hosts and whether they are healthy",
      synopsis: "[flags]",
      flags: { ...NAME, ...OUTPUT_FLAGS },
      run: ({ values }, context) => runStatus(stateOf(values.name), values.o, context),
    }),
    ping: defineCommand({
      summary: "ping every container from every other and from every host",
      synopsis: "[flags]",
      flags: {
        ...NAME,
        count: { kind: "int", value: "number", default: 3, help: "packets on each way" },
        ...OUTPUT_FLAGS,
      },
      run: ({ values }, context) => runPing(stateOf(values.name), values, context),
    }),
    exec: defineCommand({
      summary: "run a command on a host (h1, h2…), in a container (h1-c1…) or on the hub",
      synopsis: "<node> [flags] -- command [arguments]",
      flags: { ...NAME, container: { kind: "bool", help: "in the host's first container" } },
      takes: { words: true, rest: true },
      run: ({ values, positional, rest }) =>
        runExec(stateOf(values.name), positional, values.container, rest),
    }),
    "add-host": defineCommand({
      summary: "add a host, with flanneld and a container",
      synopsis: "[flags]",
      flags: NAME,
      run: ({ values }, context) => runAddHost(stateOf(values.name), programs, context),
    }),
    "remove-host": defineCommand({
      summary: "remove a host and its lease",
      synopsis: "HOST [flags]",
      flags: NAME,
      takes: { words: ["HOST"] },
      run: ({ values, positional: [host] }, context) =>
        runRemoveHost(stateOf(values.name), host!, programs, context),
    }),
    down: defineCommand({
      summary: "remove a lab, also an incomplete one",
      synopsis: "[flags]",
      flags: { name: { ...NAME.name, default: DEFAULT_LAB, help: "which lab" } },
      run: ({ values }, context) => runDown(values.name, programs, context),
    }),
    "serve-kube-api": serveKubeApiCommand(),
    "serve-aws": serveAwsCommand(),
  });

function stateOf(name: string): LabState {
  if (name === "") return requireState(undefined);
  checkLabName(name);
  return requireState(name);
}

async function runStatus(state: LabState, format: string, { print }: CommandContext): Promise<number> {
  const { nodes, isGood } = readStatus(state);
  const value = { name: state.topology.name, isGood, nodes: nodes.map(jsonOfNode), notes: notesOf(state) };
  print(
    await formatOutput(format, value, () => [
      ...formatStatus({ nodes, isGood }),
      ...value.notes.map((note) => `Note: ${note}.`),
    ]),
  );
  return isGood ? 0 : 1;
}

async function runPing(
  state: LabState,
  { count, o: format }: { readonly count: number; readonly o: string },
  { print, progress }: CommandContext,
): Promise<number> {
  if (count < 1 || count > 1000) throw new ConfigError(`--count: must be within 1…1000, but is ${count}`);
  requireRoot();
  requireTools(["ping"]);
  progress?.("Pinging every way");
  const results = await pingAll(state.topology, count, (done, all) =>
    progress?.(`Pinging: ${done} of ${all} ways`),
  );
  progress?.(undefined);
  const failed = results.filter(({ rttMs }) => rttMs === undefined).length;
  const notes = failed > 0 ? notesOf(state) : [];
  const ways = results.map((result) => ({ ...result, rttMs: result.rttMs ?? null }));
  print(
    await formatOutput(format, { name: state.topology.name, ways, failed, notes }, () => [
      ...formatPings(results),
      failed === 0 ? `All ${results.length} ways work (ms).` : `${failed} of ${results.length} ways failed.`,
      ...notes.map((note) => `Note: ${note}.`),
    ]),
  );
  return failed === 0 ? 0 : 1;
}

/** A node for programs; null is what is not there. */
const jsonOfNode = ({ pid, families, ...node }: NodeStatus) => ({
  ...node,
  pid: pid ?? null,
  families: families.map(({ bridge, ...family }) => ({ ...family, bridge: bridge ?? null })),
});

const notesOf = ({ setup, topology }: LabState): string[] => [...notesOn(setup.backendType, topology)];

async function runAddHost(state: LabState, programs: Programs, { print }: CommandContext): Promise<number> {
  requireRoot();
  await untilSignal((signal) => addHost(state.topology.name, programs, print, signal));
  return 0;
}

async function runRemoveHost(
  { topology: { name } }: LabState,
  host: string,
  programs: Programs,
  { print, printError }: CommandContext,
): Promise<number> {
  requireRoot();
  const faults = await dropHost(name, host, programs);
  for (const fault of faults) printError(`flannelctl: ${fault}; removing ${host} anyway`);
  print(`Removed host ${host} from lab "${name}".`);
  return 0;
}

async function runExec(
  { topology }: LabState,
  [node, ...surplus]: readonly string[],
  container: boolean,
  command: readonly string[],
): Promise<number> {
  requireRoot();
  if (node === undefined) throw new ConfigError("which host? Write e.g. h1 -- ip address");
  if (surplus.length > 0) throw new ConfigError(`write the command after --: -- ${surplus.join(" ")}`);
  return execOnNode(findNode(topology, node, container), command);
}

async function runDown(
  name: string,
  programs: Programs,
  { print, printError }: CommandContext,
): Promise<number> {
  checkLabName(name);
  requireRoot();
  const faults = await down(name, programs.cniPlugin);
  for (const fault of faults ?? []) printError(`flannelctl: ${fault}; removing the lab anyway`);
  print(faults === undefined ? `There is no lab "${name}"; ${describeLabs()}.` : `Removed lab "${name}".`);
  return 0;
}
