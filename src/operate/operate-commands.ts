/** The commands that look after this host, by their first word. */

import type { Command } from "../config/command.ts";
import { cleanupCommand } from "./cleanup.ts";
import type { OperatePorts } from "./operate-ports.ts";
import { planCommand } from "./plan-command.ts";

export const operateCommands = (ports: OperatePorts): Readonly<Record<"plan" | "cleanup", Command>> => ({
  plan: planCommand(ports),
  cleanup: cleanupCommand(ports),
});
