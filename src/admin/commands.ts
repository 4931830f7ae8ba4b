/** The operator's commands against a datastore, by their first word. */

import type { Command } from "../config/command.ts";
import { configCommands } from "./config.ts";
import { leaseCommands } from "./leases.ts";
import type { AdminPorts } from "./ports.ts";

export const adminCommands = (ports: AdminPorts): Readonly<Record<"config" | "leases", Command>> => ({
  config: configCommands(ports),
  leases: leaseCommands(ports),
});
