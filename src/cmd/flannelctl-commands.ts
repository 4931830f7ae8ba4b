/** The commands of flannelctl, on this host. */

import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AdminPorts } from "../admin/admin-ports.ts";
import { configCommands } from "../admin/config-command.ts";
import { leaseCommands } from "../admin/leases-command.ts";
import { type Command, defineCommand, defineGroup } from "../config/command.ts";
import { REFERENCE_NOTE } from "../config/usage.ts";
import { storeCommands } from "../etcd-server/serve-command.ts";
import { labCommands } from "../lab/commands/lab-commands.ts";
import { bugreportCommand } from "../operate/bugreport/bugreport-command.ts";
import { cleanupCommand } from "../operate/cleanup.ts";
import { driftCommand, eventsCommand } from "../operate/daemon-history.ts";
import { checkCommand } from "../operate/diagnose/check-command.ts";
import { pingCommand } from "../operate/diagnose/ping-command.ts";
import { topCommand } from "../operate/diagnose/top-command.ts";
import { traceCommand } from "../operate/diagnose/trace-command.ts";
import { planCommand } from "../operate/plan-command.ts";
import { policyCommands } from "../operate/policy-command.ts";
import { replayCommand } from "../operate/replay-command.ts";
import { statusCommand } from "../operate/status-command.ts";
import { uninstallCommand } from "../operate/uninstall.ts";
import { completionCommand } from "../reference/completion-command.ts";
import { programOf } from "../reference/program-tree.ts";
import { FLANNELD } from "../reference/programs.ts";
import { diagnosePorts } from "./diagnose-ports.ts";
import { hostPorts } from "./host-ports.ts";
import { hostVariables } from "./host-variables.ts";
import { openLeaseAdmin, openLeaseInspector } from "./open-store.ts";
import { confirm, readText, untilInterrupted } from "./terminal.ts";
import { describeVersion, VERSION } from "./version.ts";

const adminPorts: AdminPorts = {
  get variables() {
    return hostVariables();
  },
  inspectStore: openLeaseInspector,
  openStore: openLeaseAdmin,
  readText,
  confirm,
  untilInterrupted,
  wallClockMs: Date.now,
};

const operatePorts = hostPorts(adminPorts);
const diagnose = diagnosePorts();

/** All of them; nothing is opened before one runs. */
export const flannelctl: Command = defineGroup(
  "flannelctl: administers flannel networks, and finds out why packets do not arrive.",
  {
    status: statusCommand(diagnose.terminal),
    top: topCommand(diagnose),
    check: checkCommand(diagnose),
    ping: pingCommand(diagnose),
    trace: traceCommand(diagnose),
    drift: driftCommand(),
    events: eventsCommand(diagnose),
    replay: replayCommand(diagnose),
    policy: policyCommands(),
    config: configCommands(adminPorts),
    leases: leaseCommands(adminPorts),
    plan: planCommand(operatePorts),
    cleanup: cleanupCommand(operatePorts),
    uninstall: uninstallCommand(operatePorts),
    bugreport: bugreportCommand(operatePorts, diagnose, VERSION),
    store: storeCommands(),
    lab: labCommands({
      flanneld: besideLauncher("flanneld"),
      flannelctl: besideLauncher("flannelctl"),
      cniPlugin: besideLauncher("flannel"),
    }),
    completion: completionCommand(() => [programOf("flannelctl", flannelctl), FLANNELD]),
    version: versionCommand(),
  },
  {
    sections: {
      "This host and its peers": [
        "status",
        "top",
        "check",
        "ping",
        "trace",
        "drift",
        "events",
        "replay",
        "policy",
      ],
      "The network, in the datastore": ["config", "leases"],
      "Changes on this host": ["plan", "cleanup", "uninstall", "bugreport"],
      "Clusters on one machine": ["lab", "store"],
      "This program": ["completion", "version"],
    },
    examples: [
      { text: "why packets do not reach a peer", line: "check 192.168.64.12" },
      { text: "the network config, and a new one", line: "config get" },
      { text: "which host has which subnet, and each change", line: "leases --watch" },
      { text: "a network of three hosts on this machine", line: "lab up" },
    ],
    notes: [REFERENCE_NOTE],
  },
);

/** The launcher of that name in bin/, seen from dist/flannelctl.cjs or from src/cmd/. */
function besideLauncher(name: string): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const root = basename(here) === "dist" ? dirname(here) : dirname(dirname(here));
  return join(root, "bin", name);
}

function versionCommand(): Command {
  return defineCommand({
    summary: "print version, commit, Node.js and platform",
    synopsis: "[-o FORMAT]",
    flags: {
      o: {
        ...{ kind: "string", value: "format", default: "text" },
        ...{ choices: ["text", "json"], help: "text or json" },
      },
    },
    async run({ values }, { print }) {
      const text = describeVersion(values.o);
      print(values.o === "json" ? text : `flannelctl ${text}`);
      return 0;
    },
  });
}
