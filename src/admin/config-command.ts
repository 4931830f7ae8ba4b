/** `flannelctl config get|set|check`: the network config of a cluster. */

import { ConfigError } from "../base/error.ts";
import { printable, printableJson } from "../base/printable.ts";
import { type Command, type CommandContext, defineCommand, defineGroup } from "../config/command.ts";
import { parseConfigFile } from "../config/config-file.ts";
import type { LeaseAdmin, LeaseInspector, StoredConfig } from "../lease/lease-admin.ts";
import type { AdminPorts } from "./admin-ports.ts";
import { obstaclesToChange } from "./config-change.ts";
import {
  type ConfigReport,
  describeConfig,
  effectiveConfig,
  hideSecrets,
  reportConfig,
} from "./config-report.ts";
import { leasesOf } from "./lease-text.ts";
import { defineStoreChange, defineStoreCommand } from "./store-command.ts";

export const configCommands = (ports: AdminPorts): Command =>
  defineGroup("The network config that all hosts share.", {
    get: defineStoreCommand(ports, {
      summary: "print it as it is stored, or with all defaults filled in (--json)",
      flags: {
        json: { kind: "bool", help: "as hosts understand it: every key, with its default" },
        "show-secrets": { kind: "bool", help: 'print secrets, instead of "***"' },
      },
      run: (store, { values }, context) => runGet(store, values, context),
    }),
    set: defineStoreChange(ports, {
      summary: 'check a file (JSON, flanneld.yaml, or "-" = standard input) and store it',
      words: ["FILE"],
      inKubernetes:
        "the config is net-conf.json in a ConfigMap (kubectl -n kube-flannel edit configmap kube-flannel-cfg; the chart's " +
        "values, with Helm), which flanneld follows; try a new one with config check FILE before",
      flags: {
        force: { kind: "bool", help: "also if it breaks connections of hosts that have leases" },
      },
      examples: [
        { text: "from a file", line: "net-conf.json" },
        {
          text: "what flanneld.yaml says under Network, Subnet and Backend",
          line: "/etc/flannel/flanneld.yaml",
        },
      ],
      run: (store, { values, positional }, context) =>
        runSet(store, () => readConfigText(positional[0]!, ports), values.force, context),
    }),
    check: defineCommand({
      summary: 'check a file ("-" = standard input); needs no datastore',
      synopsis: "FILE",
      flags: {},
      takes: { words: ["FILE"] },
      run: async ({ positional }, context) => runCheck(await readConfigText(positional[0]!, ports), context),
    }),
  });

/** The JSON of a file, or what a flanneld.yaml says of the network. Throws ConfigError. */
async function readConfigText(path: string, ports: AdminPorts): Promise<string> {
  const text = await ports.readText(path);
  if (!/\.ya?ml$/.test(path)) return text;
  const { network } = await parseConfigFile(text, path);
  if (network !== undefined) return network.text;
  throw new ConfigError(`${path} says nothing about the network: write e.g. Network: 10.5.0.0/16`);
}

async function runGet(
  store: LeaseInspector,
  { json, "show-secrets": showSecrets }: { readonly json: boolean; readonly "show-secrets": boolean },
  context: CommandContext,
): Promise<number> {
  const stored = await store.readNetworkConfig();
  if (stored === undefined) {
    context.printError(
      `flannelctl: there is no network config at ${store.configPlace}; write one: ${context.program} config set FILE`,
    );
    return 1;
  }
  const report = reportConfig(stored.text);
  const shown = (text: string): string => (showSecrets ? text : hideSecrets(text));
  if (!json) shown(stored.text).trimEnd().split(/\r?\n/).map(printableLine).forEach(context.print);
  else if (report.network !== undefined) {
    context.print(printableJson(shown(JSON.stringify(effectiveConfig(report.network), undefined, 2))));
  }
  if (shown(stored.text) !== stored.text)
    context.printError("flannelctl: secrets are not shown; --show-secrets prints them");
  printFaults(report, store.configPlace, context);
  return json && report.network === undefined ? 1 : 0;
}

async function runCheck(text: string, context: CommandContext): Promise<number> {
  const report = reportConfig(text);
  if (report.network === undefined) {
    printFaults(report, "the file", context);
    return 1;
  }
  context.print(`The config is valid: ${describeConfig(report.network)}.`);
  printNotes(report, context);
  return 0;
}

async function runSet(
  store: LeaseAdmin,
  readText: () => Promise<string>,
  force: boolean,
  context: CommandContext,
): Promise<number> {
  const text = await readText();
  const report = reportConfig(text);
  if (report.network === undefined) {
    printFaults(report, "the file", context);
    context.printError("flannelctl: nothing was written");
    return 1;
  }
  context.progress?.(`Reading ${store.configPlace}`);
  const stored = await store.readNetworkConfig();
  if (stored !== undefined && !force) {
    context.progress?.("Reading the leases");
    const records = await store.listRecords();
    context.progress?.(`Checking what the change means for ${records.length} leases`);
    await new Promise((resolve) => setImmediate(resolve)); // it is drawn, if it is due
    const leases = leasesOf(records);
    const [before, after] = [reportConfig(stored.text, leases), reportConfig(text, leases)];
    const obstacles = obstaclesToChange(before, after, records);
    if (obstacles.length > 0) {
      for (const obstacle of obstacles) context.printError(`flannelctl: ${printable(obstacle)}`);
      context.printError("flannelctl: nothing was written; --force writes it anyway");
      return 1;
    }
  }
  context.progress?.("Writing it");
  if (stored?.text !== text && !(await write(store, text, stored))) {
    context.printError(
      "flannelctl: the config was changed concurrently: nothing was written; check it and run the command again",
    );
    return 1;
  }
  context.print(`${store.configPlace} is set: ${describeConfig(report.network)}.`);
  printNotes(report, context);
  if (force) {
    context.print(
      "Running hosts keep the previous config where they cannot apply this one, which their log reports: restart flanneld there.",
    );
  }
  return 0;
}

/** If the answer to a write was lost, the write looks like a foreign one. */
const write = async (store: LeaseAdmin, text: string, expected: StoredConfig | undefined): Promise<boolean> =>
  (await store.writeNetworkConfig(text, expected)) || (await store.readNetworkConfig())?.text === text;

function printFaults({ faults }: ConfigReport, place: string, { printError }: CommandContext): void {
  for (const fault of faults) printError(`flannelctl: ${place}: ${printable(fault)}`);
}

function printNotes({ notes }: ConfigReport, { print }: CommandContext): void {
  for (const note of notes) print(`Note: ${printable(note)}.`);
}

/** Tabs stay: people indent with them. */
const printableLine = (line: string): string => line.split("\t").map(printable).join("\t");
