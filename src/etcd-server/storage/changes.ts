/** The table of key changes: insert one; read all, a range at a revision, or the changes since a revision. */

import type { StatementSync } from "node:sqlite";
import { bytesOf, type Key, type KeyRange, keyOf } from "../protocol/keys.ts";
import { type KeyRecord, makeRecord, NO_BYTES } from "../protocol/wire.ts";
import { checksumOf, isIntact } from "./checksum.ts";
import { type Database, damaged } from "./database.ts";

/** A put or delete of a key. `previous`: the record that it replaced, if any. */
export type Change =
  | { readonly type: "put"; readonly record: KeyRecord; readonly previous: KeyRecord | undefined }
  | { readonly type: "delete"; readonly key: Key; readonly previous: KeyRecord | undefined };

/** All changes of one revision, in order. */
export interface Revision {
  readonly revision: number;
  readonly changes: readonly Change[];
}

export const keyOfChange = (change: Change): Key => (change.type === "put" ? change.record.key : change.key);

interface Row {
  readonly revision: bigint;
  readonly sub: bigint;
  readonly is_delete: bigint;
  readonly key: Uint8Array;
  readonly create_revision: bigint;
  readonly version: bigint;
  readonly lease: bigint;
  readonly value: Uint8Array;
  readonly checksum: bigint;
}

/** Bounds of one read of history; a revision is never split. */
const MAX_CHANGES_AT_ONCE = 1000;
const MAX_BYTES_AT_ONCE = 1024 * 1024;

export class ChangeTable {
  readonly #path: string;
  readonly #insert: StatementSync;
  readonly #selectAll: StatementSync;
  readonly #selectRange: StatementSync;
  readonly #selectFrom: StatementSync;
  readonly #selectSince: StatementSync;
  readonly #selectBefore: StatementSync;

  constructor({ sql, path }: Database) {
    this.#path = path;
    const prepare = (text: string) => {
      const statement = sql.prepare(text);
      statement.setReadBigInts(true);
      return statement;
    };
    this.#insert = prepare("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    this.#selectAll = prepare("SELECT * FROM change ORDER BY revision, sub");
    // With max() the other columns come from the row that has the maximum (sqlite.org/lang_select.html#bareagg).
    const latest = (condition: string) =>
      prepare(
        `SELECT *, max(revision) FROM change WHERE revision <= ? AND ${condition} GROUP BY key ORDER BY key`,
      );
    this.#selectRange = latest("key >= ? AND key < ?");
    this.#selectFrom = latest("key >= ?");
    this.#selectSince = prepare(`SELECT * FROM change
      WHERE revision BETWEEN ?1 AND ?2 AND key >= ?3 AND (?4 IS NULL OR key < ?4) ORDER BY revision, sub`);
    this.#selectBefore = prepare(
      "SELECT * FROM change WHERE key = ? AND revision < ? ORDER BY revision DESC LIMIT 1",
    );
  }

  insert(revision: number, sub: number, change: Change): void {
    const isPut = change.type === "put";
    const { createRevision, version, lease, value } = isPut ? change.record : TOMBSTONE;
    const key = bytesOf(keyOfChange(change));
    const cells = [revision, sub, isPut ? 0 : 1, key, createRevision, version, lease, value] as const;
    this.#insert.run(...cells, checksumOf(cells));
  }

  /** All changes in order. Throws ConfigError if one is damaged. */
  *all(): Generator<readonly [revision: number, change: Change]> {
    for (const row of this.#selectAll.iterate() as Iterable<unknown> as Iterable<Row>) {
      yield [Number(row.revision), this.#read(row)];
    }
  }

  /** The records of a range as they were at `revision`, in order of keys. */
  rangeAt({ from, to }: KeyRange, revision: number): KeyRecord[] {
    const rows =
      to === undefined
        ? this.#selectFrom.all(revision, bytesOf(from))
        : this.#selectRange.all(revision, bytesOf(from), bytesOf(to));
    return (rows as unknown as Row[])
      .map((row) => this.#read(row))
      .flatMap((change) => (change.type === "put" ? [change.record] : []));
  }

  /**
   * The changes of a range in the revisions `first`…`last`, as many as one read allows; `next` = the revision to continue
   * with, last + 1 if there are no more. The changes lack `previous`.
   */
  since(range: KeyRange, first: number, last: number): { revisions: Revision[]; next: number } {
    const revisions: { revision: number; changes: Change[] }[] = [];
    let changes = 0;
    let bytes = 0;
    const { from, to } = range;
    const rows = this.#selectSince.iterate(first, last, bytesOf(from), to === undefined ? null : bytesOf(to));
    for (const row of rows as Iterable<unknown> as Iterable<Row>) {
      const revision = Number(row.revision);
      if (revisions.at(-1)?.revision !== revision) {
        if (changes >= MAX_CHANGES_AT_ONCE || bytes >= MAX_BYTES_AT_ONCE)
          return { revisions, next: revision };
        revisions.push({ revision, changes: [] });
      }
      revisions.at(-1)!.changes.push(this.#read(row));
      changes++;
      bytes += row.key.length + row.value.length;
    }
    return { revisions, next: last + 1 };
  }

  /** The record of `key` before `revision`; undefined = none, or compacted. */
  before(key: Key, revision: number): KeyRecord | undefined {
    const row = this.#selectBefore.get(bytesOf(key), revision);
    const change = row === undefined ? undefined : this.#read(row as unknown as Row);
    return change?.type === "put" ? change.record : undefined;
  }

  #read(row: Row): Change {
    const { revision, sub, is_delete, key: keyBytes, create_revision, version, lease, value } = row;
    const cells = [revision, sub, is_delete, keyBytes, create_revision, version, lease, value];
    if (!isIntact(cells, row.checksum)) throw damaged(this.#path, "checksum mismatch in a change");
    const key = keyOf(keyBytes);
    if (is_delete === 1n) return { type: "delete", key, previous: undefined };
    const record = makeRecord({
      key,
      createRevision: Number(create_revision),
      modRevision: Number(revision),
      version: Number(version),
      lease,
      value,
    });
    return { type: "put", record, previous: undefined };
  }
}

const TOMBSTONE = { createRevision: 0, version: 0, lease: 0n, value: NO_BYTES };
