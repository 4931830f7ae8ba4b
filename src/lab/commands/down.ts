/** Removes a lab, complete or not; may be repeated. */

import { existsSync, rmdirSync, rmSync } from "node:fs";
import { hasCode, isNotFound } from "../../base/error.ts";
import { deleteNetns } from "../../linux/netns.ts";
import { detachContainers } from "../hosts/containers.ts";
import {
  LABS_DATA_DIRECTORY,
  LABS_DIRECTORY,
  labDataDirectory,
  labDirectory,
  nodesOf,
} from "../plan/topology.ts";
import { endProcesses, isAlive, processesIn, union } from "../record/lab-processes.ts";
import { readState } from "../record/lab-state.ts";
import { readMaker } from "../record/maker.ts";

/**
 * Ends all processes in the lab's namespaces and removes its namespaces and files. Resolves to
 * what went wrong without keeping anything from going, undefined if there was no lab. Throws FlannelError if a process
 * cannot be ended; then call it again.
 */
export async function down(name: string, cniPlugin: string): Promise<string[] | undefined> {
  if (!existsSync(labDirectory(name))) return undefined;
  // A process that is still creating the lab would create more: it is ended first.
  const maker = readMaker(name);
  if (maker !== undefined && maker.pid !== process.pid) await endProcesses(() => [maker].filter(isAlive));
  const faults: string[] = [];
  const state = readState(name); // without it nothing but the directory has been made
  if (state !== undefined) {
    const { topology, processes } = state;
    for (const host of topology.hosts) faults.push(...(await detachContainers(host, cniPlugin)));
    const namespaces = nodesOf(topology).map(({ netns }) => netns);
    await endProcesses(() => union(processes.filter(isAlive), processesIn(namespaces)));
    for (const netns of namespaces) deleteNetns(netns);
  }
  rmSync(labDataDirectory(name), { recursive: true, force: true });
  rmSync(labDirectory(name), { recursive: true, force: true }); // last: as long as it is there, this can be repeated
  for (const parent of [LABS_DATA_DIRECTORY, LABS_DIRECTORY]) removeIfEmpty(parent);
  return faults;
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!isNotFound(error) && !hasCode(error, "ENOTEMPTY")) throw error;
  }
}
