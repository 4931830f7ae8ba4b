/** Taking a lab down, whole or half-made, as often as one likes. */

import { existsSync, rmdirSync, rmSync } from "node:fs";
import { hasCode, isNotFound } from "../base/error.ts";
import { deleteNetns } from "../linux/netns.ts";
import { endProcesses, isAlive, type ProcessId, processesIn } from "./processes.ts";
import { readState } from "./state.ts";
import { LABS_DATA_DIRECTORY, LABS_DIRECTORY, labDataDirectory, labDirectory, nodesOf } from "./topology.ts";

/**
 * Ends the lab's processes, whoever started them in its namespaces, and removes its namespaces and files. Resolves to
 * whether there was a lab. Throws FlannelError if a process cannot be ended; then call it again.
 */
export async function down(name: string): Promise<boolean> {
  if (!existsSync(labDirectory(name))) return false;
  const state = readState(name); // without it nothing but the directory has been made
  if (state !== undefined) {
    // A `lab up` that is still at work would make more: it goes first.
    const makers = state.processes.filter(({ role, pid }) => role === "up" && pid !== process.pid);
    await endProcesses(() => makers.filter(isAlive));
    const recorded = (readState(name) ?? state).processes.filter(({ role }) => role !== "up");
    const namespaces = nodesOf(state.topology).map(({ netns }) => netns);
    await endProcesses(() => union(recorded.filter(isAlive), processesIn(namespaces)));
    for (const netns of namespaces) deleteNetns(netns);
  }
  rmSync(labDataDirectory(name), { recursive: true, force: true });
  rmSync(labDirectory(name), { recursive: true, force: true }); // last: as long as it is there, this can be repeated
  for (const parent of [LABS_DATA_DIRECTORY, LABS_DIRECTORY]) removeIfEmpty(parent);
  return true;
}

function union(a: readonly ProcessId[], b: readonly ProcessId[]): ProcessId[] {
  return [...new Map([...a, ...b].map((process) => [process.pid, process])).values()];
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!isNotFound(error) && !hasCode(error, "ENOTEMPTY")) throw error;
  }
}
