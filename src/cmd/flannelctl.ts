/** The operator's tool: which command, then what it says. */

import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { AdminPorts } from "../admin/admin-ports.ts";
import { configCommands } from "../admin/config-command.ts";
import { leaseCommands } from "../admin/leases-command.ts";
import { FlannelError } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import { type CommandContext, defineCommand, defineGroup } from "../config/command.ts";
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
import { replayCommand } from "../operate/replay-command.ts";
import { statusCommand } from "../operate/status-command.ts";
import { diagnosePorts } from "./diagnose-ports.ts";
import { hostPorts } from "./host-ports.ts";
import { openLeaseAdmin, openLeaseInspector } from "./open-store.ts";
import { confirm, readText, untilInterrupted } from "./terminal.ts";
import { VERSION } from "./version.ts";

const context: CommandContext = {
  program: invocation(),
  print: (line) => void process.stdout.write(`${line}\n`),
  printError: (line) => void process.stderr.write(`${line}\n`),
};

const adminPorts: AdminPorts = {
  variables: process.env,
  inspectStore: openLeaseInspector,
  openStore: openLeaseAdmin,
  readText,
  confirm,
  untilInterrupted,
  wallClockMs: Date.now,
};

const operatePorts = hostPorts(adminPorts);
const diagnose = diagnosePorts();

const flannelctl = defineGroup("flannelctl: administers flannel networks.", {
  status: statusCommand(diagnose.terminal),
  top: topCommand(diagnose),
  check: checkCommand(diagnose),
  ping: pingCommand(diagnose),
  trace: traceCommand(diagnose),
  drift: driftCommand(),
  events: eventsCommand(diagnose),
  replay: replayCommand(diagnose),
  config: configCommands(adminPorts),
  leases: leaseCommands(adminPorts),
  plan: planCommand(operatePorts),
  cleanup: cleanupCommand(operatePorts),
  bugreport: bugreportCommand(operatePorts, diagnose, VERSION),
  store: storeCommands(),
  lab: labCommands({
    flanneld: besideLauncher("flanneld"),
    flannelctl: besideLauncher("flannelctl"),
    cniPlugin: besideLauncher("flannel"),
  }),
  version: defineCommand({
    summary: "print the version",
    synopsis: "",
    flags: {},
    async run(_, { print }) {
      print(`flannelctl ${VERSION}`);
      return 0;
    },
  }),
});

// `ps` shows a password on the command line to every user.
if (process.argv.some((word) => /^--?etcd-password\b|:\/\/.*@/.test(word))) process.title = "flannelctl";
process.stdout.on("error", () => process.exit(1)); // the reader has ended (`| head`)
void main().then((exitCode) => {
  process.exitCode = exitCode;
});

async function main(): Promise<number> {
  try {
    return await flannelctl.run(process.argv.slice(2), context, context.program);
  } catch (error) {
    if (!(error instanceof FlannelError) && !(error instanceof Error && "code" in error)) throw error;
    const lines = error.message.split("\n").map(printable);
    context.printError(`flannelctl: ${lines.join("\n")}`);
    return 1;
  }
}

/** The launcher of that name in bin/, seen from dist/flannelctl.cjs or from src/cmd/flannelctl.ts. */
function besideLauncher(name: string): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const root = basename(here) === "dist" ? dirname(here) : dirname(dirname(here));
  return join(root, "bin", name);
}

/** How to call this program again from where the user is. */
function invocation(): string {
  const launcher = besideLauncher("flannelctl");
  const fromHere = relative(process.cwd(), launcher);
  return fromHere.startsWith("..") ? launcher : fromHere;
}
