/**
 * The database on disk: every change of a key since the last compaction, the leases, and a few numbers. It is what the
 * store is; all else is read from it at the start.
 *
 * Durability: write-ahead log, forced to disk at every commit (https://www.sqlite.org/pragma.html#pragma_synchronous).
 * SQLite notices damage to its structure, the checksums notice damage to the data in it.
 */

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ConfigError, messageOf } from "../../base/error.ts";
import { isDamage } from "./database-errors.ts";
import { lockDirectory } from "./directory-lock.ts";

/** "flns": tells our files from other SQLite databases. */
const APPLICATION_ID = 0x666c_6e73;
const SCHEMA_VERSION = 1;
const PAGE_BYTES = 4096;
/** etcd's default quota: a store this large is a mistake, and says so before the disk is full. */
const MAX_DATABASE_BYTES = 2 * 1024 ** 3;

const SCHEMA = `
  CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    ttl_s INTEGER NOT NULL,
    -- wall clock, ms since the epoch
    expires_at_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE change (
    revision INTEGER NOT NULL,
    -- the place within the revision
    sub INTEGER NOT NULL,
    is_delete INTEGER NOT NULL,
    key BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (revision, sub)
  ) WITHOUT ROWID;
  CREATE INDEX change_by_key ON change (key, revision);
`;

/** The open database, whose directory is locked until it is closed. */
export interface Database extends Disposable {
  readonly sql: DatabaseSync;
  readonly path: string;
}

/**
 * Opens the database in `directory`, which is made if there is none. Throws ConfigError: in use, damaged, made by a
 * newer version, or not to be read; then nothing has been changed.
 */
export function openDatabase(directory: string): Database {
  const lock = prepareDirectory(directory);
  const path = join(directory, "store.db");
  try {
    if (!existsSync(path)) createDatabase(directory, path);
    checkHeader(path);
    return { ...openChecked(path, lock), path };
  } catch (error) {
    lock[Symbol.dispose]();
    throw isDamage(error) ? damaged(path, messageOf(error)) : error;
  }
}

/** The error for a database that cannot be used as it is. */
export const damaged = (path: string, what: string): ConfigError =>
  new ConfigError(
    `the store's database ${path} is damaged (${what}) and was left as it is. Restore its directory from a backup, ` +
      "or move the directory away to start with an empty store: hosts register again by themselves, the network " +
      "config has to be written again",
  );

function prepareDirectory(directory: string): Disposable {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return lockDirectory(directory);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`cannot use the data directory ${directory}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Makes the database aside and moves it into place whole, so that one that is there is never half-made. */
function createDatabase(directory: string, path: string): void {
  if (existsSync(`${path}-wal`)) throw damaged(path, "it is missing, but its log store.db-wal is there");
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  const sql = new DatabaseSync(draft);
  try {
    sql.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA synchronous = EXTRA; BEGIN; ${SCHEMA}
      PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
  } finally {
    sql.close();
  }
  renameSync(draft, path);
  const directoryFd = openSync(directory, "r");
  try {
    fsyncSync(directoryFd);
  } finally {
    closeSync(directoryFd);
  }
}

/** Reads what the file says of itself without SQLite, which would write to it (https://www.sqlite.org/fileformat.html). */
function checkHeader(path: string): void {
  const header = Buffer.alloc(100);
  const fd = openSync(path, "r");
  try {
    if (readSync(fd, header, 0, header.length, 0) < header.length) throw damaged(path, "it is cut off");
  } finally {
    closeSync(fd);
  }
  if (header.toString("latin1", 0, 16) !== "SQLite format 3\0") throw damaged(path, "it is no database");
  if (header.readUInt32BE(68) !== APPLICATION_ID) throw damaged(path, "it is not flannel's");
  const version = header.readUInt32BE(60);
  if (version > SCHEMA_VERSION) {
    throw new ConfigError(
      `the store in ${path} was written by a newer version (its format is ${version}, this program knows up to ` +
        `${SCHEMA_VERSION}) and was left as it is: run the newer version, or give another data directory`,
    );
  }
}

function openChecked(path: string, lock: Disposable): { sql: DatabaseSync } & Disposable {
  const sql = new DatabaseSync(path, { timeout: 0 });
  try {
    sql.exec("PRAGMA locking_mode = EXCLUSIVE");
    const findings = sql.prepare("PRAGMA quick_check(1)").all();
    const finding = String(findings[0]?.quick_check ?? "no answer");
    if (finding !== "ok") throw damaged(path, finding);
    sql.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
      PRAGMA max_page_count = ${MAX_DATABASE_BYTES / PAGE_BYTES}`);
  } catch (error) {
    sql.close();
    throw error;
  }
  return {
    sql,
    [Symbol.dispose]() {
      sql.close();
      lock[Symbol.dispose]();
    },
  };
}
