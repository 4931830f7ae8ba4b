/**
 * What is known of a lab after its maker is gone: state.json in its directory. It is written before the first thing of
 * the lab is made and again with each process, so that `lab down` finds everything whenever the maker was killed.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { FlannelError, isNotFound } from "../../base/error.ts";
import { writeFileAtomic } from "../../linux/files.ts";
import { netnsPath } from "../../linux/netns.ts";
import type { DatastoreKind } from "../plan/lab-plan.ts";
import { LABS_DIRECTORY, labDirectory, type Node, nodesOf, type Topology } from "../plan/topology.ts";
import type { ProcessId } from "./lab-processes.ts";

/** What every host of the lab is made with, now and later. */
export interface LabSetup {
  readonly datastore: DatastoreKind;
  /** The network config's. */
  readonly backendType: string;
  /** Path of flanneld. */
  readonly flanneld: string;
  /** Given to every flanneld besides those that the lab needs. */
  readonly flanneldFlags: readonly string[];
}

/** What a process in the hub is: the datastore, or the API of the cloud that the hosts are in. */
export type HubRole = DatastoreKind | "aws";

export interface LabProcess extends ProcessId {
  readonly role: HubRole | "flanneld";
  /** Name of the node that it runs in. */
  readonly node: string;
}

export interface LabState {
  /** Raised when the shape of this file changes. */
  readonly version: typeof VERSION;
  readonly topology: Topology;
  readonly setup: LabSetup;
  readonly processes: readonly LabProcess[];
}

const VERSION = 3;

/** In the lab's directory. */
export const STATE_FILE = "state.json";
const stateFile = (name: string): string => `${labDirectory(name)}/${STATE_FILE}`;

/** A new lab. Throws FlannelError EEXIST if its name or one of its namespaces' is taken. */
export async function claimLab(topology: Topology, setup: LabSetup): Promise<LabState> {
  const { name } = topology;
  const made = mkdirSync(labDirectory(name), { recursive: true, mode: 0o755 });
  if (made === undefined) {
    throw new FlannelError(
      "EEXIST",
      `there is a lab ${JSON.stringify(name)} already: remove it with "lab down --name ${name}", or choose another --name`,
    );
  }
  try {
    refuseForeign(nodesOf(topology));
  } catch (error) {
    rmdirSync(labDirectory(name));
    throw error;
  }
  return saveState({ version: VERSION, topology, setup, processes: [] });
}

/**
 * Namespaces that no lab has created are foreign: once in a state file, `lab down` would delete them.
 * Throws FlannelError EEXIST.
 */
export function refuseForeign(nodes: readonly Node[]): void {
  const foreign = nodes.find(({ netns }) => existsSync(netnsPath(netns)));
  if (foreign === undefined) return;
  throw new FlannelError(
    "EEXIST",
    `the network namespace ${foreign.netns} exists and is no lab's: choose another --name, or remove it`,
  );
}

export async function saveState(state: LabState): Promise<LabState> {
  await writeFileAtomic(stateFile(state.topology.name), `${JSON.stringify(state, undefined, 2)}\n`, 0o644);
  return state;
}

/** Undefined if there is no such lab, or its maker was killed before it made anything. Throws FlannelError if unreadable. */
export function readState(name: string): LabState | undefined {
  try {
    const state = JSON.parse(readFileSync(stateFile(name), "utf8")) as LabState;
    if (state.version === VERSION) return state;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new FlannelError(
    "INVALID",
    `${stateFile(name)} was not written by this version: remove the lab with the version that made it`,
  );
}

/** The lab of that name; without a name the only one there is. Throws FlannelError that names the ones there are. */
export function requireState(name: string | undefined): LabState {
  const names = labNames();
  const [only = "", another] = names;
  if (name === undefined && another !== undefined) {
    throw new FlannelError("AMBIGUOUS", `which lab? ${describeLabs()}`);
  }
  const wanted = name ?? only;
  const state = readState(wanted);
  if (state !== undefined) return state;
  if (names.includes(wanted)) {
    throw new FlannelError(
      "NOT_FOUND",
      `lab ${wanted} was never finished: "lab down --name ${wanted}" removes it`,
    );
  }
  const what = name === undefined ? "there is no lab" : `there is no lab ${JSON.stringify(name)}`;
  throw new FlannelError("NOT_FOUND", `${what}; ${describeLabs()}`);
}

/** "there are: a, b" or how to make one. */
export function describeLabs(): string {
  const names = labNames();
  return names.length === 0
    ? 'make one with "lab up"'
    : `there are: ${names.join(", ")} (choose with --name)`;
}

/** The existing labs, including incomplete ones. */
export function labNames(): string[] {
  try {
    return readdirSync(LABS_DIRECTORY).sort();
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}
