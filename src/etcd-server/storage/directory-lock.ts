/**
 * One process to a data directory. The lock is SQLite's own on a file of its own: the system lets go of it however the
 * process ends, and the database is not touched before it is held. A second file names the holder, for messages.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ConfigError } from "../../base/error.ts";
import { isBusy } from "./database-errors.ts";

/** Takes the directory until disposed. Throws ConfigError, naming the process that has it. */
export function lockDirectory(directory: string): Disposable {
  const pidFile = join(directory, "pid");
  const lock = new DatabaseSync(join(directory, "lock"), { timeout: 0 });
  try {
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    if (!isBusy(error)) throw error;
    const holder = readPid(pidFile);
    throw new ConfigError(
      `the store in ${directory} is in use by ${holder === undefined ? "another process" : `process ${holder}`}: ` +
        "stop that one, or give each its own data directory",
    );
  }
  writeFileSync(pidFile, `${process.pid}\n`);
  return { [Symbol.dispose]: () => lock.close() };
}

function readPid(file: string): string | undefined {
  try {
    return /^\d+$/m.exec(readFileSync(file, "utf8"))?.[0];
  } catch {
    return undefined;
  }
}
