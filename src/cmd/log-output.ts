/** Where flanneld's log lines go: stderr, or klog's files. */

import { hostname, tmpdir, userInfo } from "node:os";
import { messageOf } from "../base/error.ts";
import { writeToStderr } from "../base/klog.ts";
import { LogFiles, namePart, SEVERITIES } from "../base/log-files.ts";
import type { LogOptions } from "../config/options-log.ts";

/** Of each severity. */
const KEPT_FILES = 10;

/**
 * Takes the lines of the log. With files: what is buffered is written when the process exits. Undefined = they cannot be
 * created, which is reported on stderr.
 */
export function openLogOutput({ files: settings }: LogOptions): ((line: string) => void) | undefined {
  if (settings === undefined) return writeToStderr;
  const files = openFiles(settings);
  if (files === undefined) return undefined;
  process.once("exit", () => files.flush());
  // Node.js prints the error on stderr and ends the process; the files get it, too.
  process.on("uncaughtExceptionMonitor", (error) => {
    for (const line of String(error?.stack ?? error).split("\n")) files.write(`F ${line}\n`);
  });
  return (line) => {
    files.write(line);
    if (LETTERS.indexOf(line[0]!) >= settings.stderrThreshold) writeToStderr(line);
  };
}

const LETTERS = SEVERITIES.map((severity) => severity[0]!);

function openFiles({ directory, file, maxBytes }: NonNullable<LogOptions["files"]>): LogFiles | undefined {
  const place = directory ?? tmpdir();
  try {
    return new LogFiles({
      ...{ directory: place, file, maxBytes, keptFiles: KEPT_FILES, pid: process.pid, nowMs: Date.now },
      ...{ program: "flanneld", host: namePart(hostname().split(".")[0]!), user: namePart(userName()) },
      onProblem: (message) => writeToStderr(`E ${message}\n`),
    });
  } catch (error) {
    const flag = file === undefined ? "-log_dir" : "-log_file";
    writeToStderr(`flanneld: ${flag}: failed to create a log file: ${messageOf(error)}\n`);
    return undefined;
  }
}

/** A user without an entry in passwd has a number only. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "unknownuser"; // as klog
  }
}
