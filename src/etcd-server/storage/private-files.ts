/** The modes of the store's files: 0600, because a reader of the directory need not be a client of the store. */

import { chmodSync, closeSync, lstatSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, messageOf } from "../../base/error.ts";

const PRIVATE_MODE = 0o600;
const NOT_OWNER_BITS = 0o077;
/** The database with its logs and copies (`store.db-wal`, `store.db.new`, `store.db.bak`), and the lock. */
const OWN_NAME = /^(store\.db.*|lock(-journal)?|pid)$/;

/** Creates an empty file of mode 0600, if it does not exist. */
export function createPrivateFile(path: string): void {
  closeSync(openSync(path, "a", PRIVATE_MODE));
}

/** Takes the rights of group and others from the store's files in `directory`. Throws ConfigError if it may not. */
export function tightenFiles(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (!OWN_NAME.test(name)) continue;
    const path = join(directory, name);
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (status === undefined || !status.isFile() || (status.mode & NOT_OWNER_BITS) === 0) continue;
    try {
      chmodSync(path, status.mode & ~NOT_OWNER_BITS & 0o777);
    } catch (cause) {
      throw new ConfigError(`${path} is readable by others; run chmod 600 ${path}: ${messageOf(cause)}`, {
        cause,
      });
    }
  }
}
