/** The operator's commands against a datastore, by their first word. */

import type { Command } from "../config/command.ts";
import type { AdminPorts } from "./admin-ports.ts";
import { configCommands } from "./config-command.ts";
import { leaseCommands } from "./leases-command.ts";

export const adminCommands = (ports: AdminPorts): Readonly<Record<"config" | "leases", Command>> => ({
  config: configCommands(ports),
  leases: leaseCommands(ports),
});
