/**
 * Who is making or changing a lab: one command at a time, known to `lab down`, which ends it first. The file is a link,
 * which exists with its content or not at all, and only for one.
 */

import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { FlannelError, isAlreadyExists, isNotFound } from "../../base/error.ts";
import { labDirectory } from "../plan/topology.ts";
import { identify, isAlive, type ProcessId } from "./lab-processes.ts";

const makerFile = (lab: string): string => `${labDirectory(lab)}/maker.json`;

/** Makes this process the lab's maker until disposed. Throws FlannelError EBUSY if there is another. */
export function becomeMaker(lab: string): Disposable {
  const file = makerFile(lab);
  const own = `${file}.${process.pid}`;
  writeFileSync(own, JSON.stringify(identify(process.pid)), { mode: 0o644 });
  try {
    const other = readMaker(lab);
    if (other !== undefined && isAlive(other)) throw busy(lab, other);
    if (other !== undefined) rmSync(file, { force: true }); // it was killed
    linkSync(own, file);
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    throw busy(lab, readMaker(lab));
  } finally {
    rmSync(own, { force: true });
  }
  return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
}

/** Undefined if there was none, or if it has ended. */
export function readMaker(lab: string): ProcessId | undefined {
  try {
    return JSON.parse(readFileSync(makerFile(lab), "utf8")) as ProcessId;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

const busy = (lab: string, other: ProcessId | undefined): FlannelError =>
  new FlannelError(
    "EBUSY",
    `another command${other === undefined ? "" : ` (process ${other.pid})`} is changing lab ${lab}: try again when it is through`,
  );
