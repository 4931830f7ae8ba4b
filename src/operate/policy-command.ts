/**
 * `flannelctl policy`: which network policies concern this node, what a pod's policies allow, and why a connection is denied, as
 * the running flanneld knows. Exit codes: 0 all in effect or allowed, 1 not, 2 no flanneld answers.
 */

import { printable } from "../base/printable.ts";
import { formatTable } from "../base/table.ts";
import { type Command, defineCommand, defineGroup } from "../config/command.ts";
import { formatOutput, OUTPUT_FLAGS } from "../config/output-format.ts";
import type { Explanation, PodPolicies, PolicyState } from "../status/api-policies.ts";
import { askDaemon } from "../status/status-client.ts";
import { DAEMON_FLAGS } from "./daemon-flags.ts";
import { withDaemon } from "./status-command.ts";

const EXIT_PROBLEM = 1;

/** `flannelctl policy list|show|explain`. */
export const policyCommands = (): Command =>
  defineGroup("Network policies on this node.", {
    list: listCommand(),
    show: showCommand(),
    explain: explainCommand(),
  });

const listCommand = (): Command =>
  defineCommand({
    summary: "list the network policies that concern this node's pods; exit code 1 if they are not in effect",
    synopsis: "[-o table|json|yaml]",
    flags: { ...OUTPUT_FLAGS, ...DAEMON_FLAGS },
    run: ({ values: { o, socket } }, { print, printError }) =>
      withDaemon(printError, async () => {
        const state = await askDaemon<PolicyState>(socket, "/v1/policies");
        print(await formatOutput(o, state, () => describeState(state)));
        return state.isInEffect ? 0 : EXIT_PROBLEM;
      }),
  });

const showCommand = (): Command =>
  defineCommand({
    summary: "show a pod, the policies that isolate it and what they allow",
    synopsis: "POD [-o table|json|yaml]",
    flags: { ...OUTPUT_FLAGS, ...DAEMON_FLAGS },
    takes: { words: ["POD"] },
    run: ({ values: { o, socket }, positional: [pod] }, { print, printError }) =>
      withDaemon(printError, async () => {
        const query = new URLSearchParams({ pod: pod! });
        const found = await askDaemon<PodPolicies>(socket, `/v1/policies/pod?${query}`);
        print(await formatOutput(o, found, () => describePod(found)));
        return 0;
      }),
  });

const explainCommand = (): Command =>
  defineCommand({
    summary: "say whether a connection is allowed, and by which policies; exit code 1 if it is denied",
    synopsis: "FROM TO PORT [-o table|json|yaml]",
    flags: { ...OUTPUT_FLAGS, ...DAEMON_FLAGS },
    takes: { words: ["FROM", "TO", "PORT"] },
    run: ({ values: { o, socket }, positional: [from, to, port] }, { print, printError }) =>
      withDaemon(printError, async () => {
        const query = new URLSearchParams({ from: from!, to: to!, port: port! });
        const found = await askDaemon<Explanation>(socket, `/v1/policies/explain?${query}`);
        print(await formatOutput(o, found, () => describeExplanation(found)));
        return found.isAllowed ? 0 : EXIT_PROBLEM;
      }),
  });

function describeState(state: PolicyState): string[] {
  const { selecting } = state;
  const rows = [
    ["state", state.isInEffect ? "in effect" : "not in effect"],
    ...(state.problem === undefined ? [] : [["problem", state.problem]]),
    ["policies", `${state.policies} in the cluster, ${selecting.length} concern this node`],
    ["pods", `${state.localPods} on this node, ${state.isolatedPods} isolated, ${state.pods} in the cluster`],
  ];
  const table = selecting.map(({ namespace, name, directions, pods, deniedPackets }) => [
    ...[`${namespace}/${name}`, directions.join(", ") || "-", pods.join(", ") || "-", String(deniedPackets)],
  ]);
  const problems = selecting.flatMap(({ namespace, name, problems: found }) =>
    found.map((problem) => `${namespace}/${name}: ${problem}`),
  );
  return [
    ...formatRows(rows),
    ...(table.length === 0 ? [] : ["", ...formatRows([["POLICY", "ISOLATES", "PODS", "DENIED"], ...table])]),
    ...(problems.length === 0 ? [] : ["", ...problems.map((line) => `not understood: ${printable(line)}`)]),
  ];
}

function describePod(pod: PodPolicies): string[] {
  const place = pod.isHostNetwork ? "the node's network" : pod.isLocal ? "this node" : "another node";
  const rows = [
    ["pod", `${pod.namespace}/${pod.name}`],
    ["addresses", pod.addresses.join(", ") || "none yet"],
    ["runs on", place],
    ["state", pod.state],
  ];
  for (const side of pod.sides) {
    const rule = side.isIsolated ? `isolated by ${side.policies.join(", ")}` : "everything is allowed";
    rows.push([side.direction, pod.isLocal ? rule : "filtered by its own node"]);
    for (const allowed of side.allows) rows.push(["", `allows ${allowed}`]);
    if (side.deniedPackets > 0) rows.push(["", `${side.deniedPackets} packets denied`]);
  }
  return formatRows(rows);
}

function describeExplanation(found: Explanation): string[] {
  const { source, destination, protocol, port, isAllowed, ends, notes } = found;
  return [
    `${isAllowed ? "allowed" : "denied"}: ${printable(found.from)} (${source}) to ${printable(found.to)} (${destination}), ${protocol} ${port}`,
    ...ends.map(
      (end) => `  ${end.direction}${end.pod === undefined ? "" : ` of ${end.pod}`}: ${describeEnd(end)}`,
    ),
    ...notes.map((note) => `  note: ${note}`),
  ].map(printable);
}

function describeEnd({
  pod,
  isIsolated,
  isAllowed,
  policies,
  allowedBy,
}: Explanation["ends"][number]): string {
  if (pod === undefined) return "no pod, so no policy";
  if (!isIsolated) return "allowed, because no policy selects the pod";
  if (isAllowed) return `allowed by ${allowedBy.join(", ")}`;
  return `denied: isolated by ${policies.join(", ")}, and none of them allows it`;
}

const formatRows = (rows: readonly (readonly string[])[]): string[] =>
  formatTable(rows.map((row) => row.map(printable)));
