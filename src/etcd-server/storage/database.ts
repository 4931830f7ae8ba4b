/**
 * The database on disk: every change of a key since the last compaction, the leases, and a few numbers. All other state
 * is read from it at startup.
 *
 * Durability: write-ahead log, forced to disk at every commit (https://www.sqlite.org/pragma.html#pragma_synchronous).
 * SQLite detects damage to its structure, the checksums detect damage to the data in it. All files are readable by
 * their owner only, whatever the directory's mode is (private-files.ts).
 */

import { closeSync, existsSync, fsyncSync, openSync, readSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ConfigError, messageOf } from "../../base/error.ts";
import { makeDirectory } from "../../base/make-directory.ts";
import { isDamage } from "./database-errors.ts";
import { lockDirectory } from "./directory-lock.ts";
import { createPrivateFile, tightenFiles } from "./private-files.ts";

/** "flns": distinguishes the store's files from other SQLite databases. */
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
    -- position within the revision
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
 * Opens the database in `directory`; both are created if missing. Throws ConfigError if it is in use, damaged, unreadable
 * or written by a newer version; then its content is unchanged.
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

/** The error for a damaged database; `what` says where. */
export const damaged = (path: string, what: string): ConfigError =>
  new ConfigError(
    `the store's database ${path} is damaged (${what}) and was left unchanged; restore its directory from a backup, ` +
      "or move the directory away to start with an empty store (hosts register again by themselves; write the network " +
      "config again)",
  );

function prepareDirectory(directory: string): Disposable {
  try {
    makeDirectory(directory, 0o700);
    tightenFiles(directory);
    return lockDirectory(directory);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`failed to use the data directory ${directory}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Creates the database under another name and renames it when it is complete. */
function createDatabase(directory: string, path: string): void {
  if (existsSync(`${path}-wal`)) throw damaged(path, "it is missing, but its log store.db-wal exists");
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  createPrivateFile(draft); // SQLite gives its other files the mode of the database
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

/** Checks the file's header without SQLite, which would write to the file (https://www.sqlite.org/fileformat.html). */
function checkHeader(path: string): void {
  const header = Buffer.alloc(100);
  const fd = openSync(path, "r");
  try {
    if (readSync(fd, header, 0, header.length, 0) < header.length) throw damaged(path, "it is truncated");
  } finally {
    closeSync(fd);
  }
  if (header.toString("latin1", 0, 16) !== "SQLite format 3\0") throw damaged(path, "it is not a database");
  if (header.readUInt32BE(68) !== APPLICATION_ID) throw damaged(path, "it was not created by flannel");
  const version = header.readUInt32BE(60);
  if (version > SCHEMA_VERSION) {
    throw new ConfigError(
      `the store in ${path} was written by a newer version (format ${version}; this program supports up to ` +
        `${SCHEMA_VERSION}) and was left unchanged; run the newer version, or choose another data directory`,
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
