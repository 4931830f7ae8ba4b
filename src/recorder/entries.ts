/** What the flight recorder keeps: what flanneld learned, desired and did, as plain data that can be replayed. */

import type { StateObject, StateOperation } from "../state/objects.ts";
import type { PlanInputs } from "./plan-inputs.ts";

/** The desired state changed: the difference to the one before. */
export interface TargetEntry {
  /** Wall clock, ms since the epoch. */
  readonly atMs: number;
  readonly type: "target";
  readonly set: readonly StateObject[];
  /** Keys of objects that are no longer desired. */
  readonly gone: readonly string[];
  /** What belongs to flanneld: names of devices, prefixes. */
  readonly devices: readonly string[];
  readonly networks: readonly string[];
  readonly keepOthers: boolean;
  /** What the planner made it from, as a difference, too; missing if nothing of it changed. */
  readonly inputs?: PlanInputs;
}

/** One operation that was tried; `problem` = it was refused. */
export interface TriedOperation {
  readonly action: StateOperation["action"];
  readonly key: string;
  /** For people. */
  readonly object: string;
  readonly problem?: string;
}

/** A pass of the reconciler that tried something. */
interface PassEntry {
  readonly atMs: number;
  readonly type: "pass";
  readonly tookMs: number;
  /** The first of them; all that were refused. */
  readonly operations: readonly TriedOperation[];
  /** How many were tried in all. */
  readonly tried: number;
}

/** Something else had changed these objects, and flanneld repaired them. */
export interface DriftEntry {
  readonly atMs: number;
  readonly type: "drift";
  readonly operations: readonly StateOperation[];
}

/** Something happened that changes no desired state by itself. */
interface NoteEntry {
  readonly atMs: number;
  readonly type: "lease" | "peer" | "probe" | "readiness";
  readonly message: string;
}

/** One entry, oldest first in a recording. */
export type RecorderEntry = TargetEntry | PassEntry | DriftEntry | NoteEntry;
