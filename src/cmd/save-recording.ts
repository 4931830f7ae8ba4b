/** Writes the flight recorder's file when flanneld ends, in order or by an error that nobody caught. */

import { chmodSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { makeDirectory } from "../base/make-directory.ts";
import type { Recorder } from "../recorder/recorder.ts";
import { recordingPathOf, recordingPieces } from "../recorder/recording-file.ts";
import { VERSION } from "./version.ts";

const STARTED_AT = new Date().toISOString();

/** What `recorder` has now, as the text of a file in pieces; later changes are not in it. */
export function recordingNow(recorder: Recorder): Iterable<string> {
  const savedAt = new Date().toISOString();
  const header = { host: hostname(), flannel: VERSION, startedAt: STARTED_AT, savedAt };
  return recordingPieces(header, [...recorder.entries()]);
}

/** The file is root's, and replaced as a whole. It is written at once on SIGUSR2, too. */
export function saveRecordingAtExit(
  recorder: Recorder,
  { subnetFile, logger }: { readonly subnetFile: string; readonly logger: Logger },
): void {
  const path = recordingPathOf(subnetFile);
  const save = (): void => {
    if (recorder.isEmpty) return; // it ended before it did anything: the previous recording says more
    const temporary = `${path}.${process.pid}.tmp`;
    try {
      makeDirectory(dirname(path));
      rmSync(temporary, { force: true });
      writeFileSync(temporary, [...recordingNow(recorder)].join(""), { mode: 0o600, flag: "wx" });
      chmodSync(temporary, 0o600);
      renameSync(temporary, path);
    } catch (error) {
      logger.warn(`Failed to write the flight recorder's file ${path}: ${messageOf(error)}`);
    }
  };
  process.once("exit", save);
  process.on("SIGUSR2", save);
}
