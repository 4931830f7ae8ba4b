/**
 * One process per data directory. The lock is SQLite's, on a separate file: the kernel releases it however the process
 * ends, and the database is not touched before it is held. The file `pid` names the holder, for messages.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ConfigError } from "../../base/error.ts";
import { isBusy } from "./database-errors.ts";
import { createPrivateFile } from "./private-files.ts";

/** Locks the directory until disposed. Throws ConfigError naming the process that holds the lock. */
export function lockDirectory(directory: string): Disposable {
  const pidFile = join(directory, "pid");
  const lockFile = join(directory, "lock");
  createPrivateFile(lockFile);
  const lock = new DatabaseSync(lockFile, { timeout: 0 });
  try {
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    if (!isBusy(error)) throw error;
    const holder = readPid(pidFile);
    throw new ConfigError(
      `the store in ${directory} is in use by ${holder === undefined ? "another process" : `process ${holder}`}; ` +
        "stop it, or give each process its own data directory",
    );
  }
  writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  return { [Symbol.dispose]: () => lock.close() };
}

function readPid(file: string): string | undefined {
  try {
    return /^\d+$/m.exec(readFileSync(file, "utf8"))?.[0];
  } catch {
    return undefined;
  }
}
