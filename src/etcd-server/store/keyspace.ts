/**
 * The keys and their revisions: multi-version as in etcd. The current state is in memory, past states are read
 * from the database. Every write creates one revision, however many keys it changes.
 */

import type { Key, KeyRange } from "../protocol/keys.ts";
import { compacted, futureRevision } from "../protocol/rpc-error.ts";
import { type KeyRecord, makeRecord } from "../protocol/wire.ts";
import { type Change, type ChangeTable, keyOfChange, type Revision } from "../storage/changes.ts";
import type { CommitListener, Commits } from "../storage/commits.ts";
import type { Numbers } from "../storage/stored-numbers.ts";
import type { Attachments } from "./attachments.ts";
import { SortedRecords } from "./sorted-records.ts";

/** The revision of an empty store, as in etcd. */
const FIRST_REVISION = 1;

export interface Listing {
  readonly records: readonly KeyRecord[];
  /** The number of keys, regardless of the limit. */
  readonly count: number;
}

export interface ListingOptions {
  /** As of this revision; 0 or less = now. */
  readonly revision: number;
  /** Infinity = all. */
  readonly limit: number;
  readonly countOnly: boolean;
}

const NOW: ListingOptions = { revision: 0, limit: Number.POSITIVE_INFINITY, countOnly: false };

export class Keyspace implements CommitListener {
  readonly #table: ChangeTable;
  readonly #commits: Commits;
  readonly #attachments: Attachments;
  readonly #numbers: Numbers;
  readonly #records = new SortedRecords<KeyRecord>();
  #revision: number;
  #committedRevision: number;
  #compactedRevision: number;
  /** Revisions that are not on disk yet. */
  #uncommitted: Revision[] = [];
  #onCommitted: (revisions: readonly Revision[]) => void = () => {};

  /** Loads the state from the database. Throws ConfigError if it is damaged. */
  constructor(table: ChangeTable, commits: Commits, attachments: Attachments, numbers: Numbers) {
    this.#table = table;
    this.#commits = commits;
    this.#attachments = attachments;
    this.#numbers = numbers;
    this.#revision = numbers.get("revision") ?? FIRST_REVISION;
    this.#compactedRevision = numbers.get("compacted_revision") ?? -1;
    for (const [revision, change] of table.all()) {
      this.#revision = Math.max(this.#revision, revision);
      this.#apply(change, this.#records.get(keyOfChange(change)));
    }
    this.#committedRevision = this.#revision;
  }

  get revision(): number {
    return this.#revision;
  }

  /** The last revision that is on disk; watchers receive nothing later. */
  get committedRevision(): number {
    return this.#committedRevision;
  }

  /** Older revisions cannot be read; below 0 = all can. */
  get compactedRevision(): number {
    return this.#compactedRevision;
  }

  get size(): number {
    return this.#records.size;
  }

  /** Registers the listener for the revisions of each commit. */
  onCommitted(listener: (revisions: readonly Revision[]) => void): void {
    this.#onCommitted = listener;
  }

  get(key: Key): KeyRecord | undefined {
    return this.#records.get(key);
  }

  /** The records of a range in order of keys. Throws RpcError: compacted, future revision. */
  list(range: KeyRange, options: ListingOptions = NOW): Listing {
    this.checkRevision(options.revision);
    const { limit } = options;
    if (options.revision <= 0 || options.revision === this.#revision) {
      const count = this.#records.count(range);
      return { count, records: options.countOnly ? [] : this.#records.slice(range, limit) };
    }
    const records = this.#table.rangeAt(range, options.revision);
    return { count: records.length, records: options.countOnly ? [] : records.slice(0, limit) };
  }

  /** Throws RpcError unless the state at `revision` can be read. */
  checkRevision(revision: number): void {
    if (revision > this.#revision) throw futureRevision();
    if (revision > 0 && revision < this.#compactedRevision) throw compacted();
  }

  /** Makes changes in one revision. The revision is incremented only if something changes. */
  change<T>(make: (writer: RevisionWriter) => T): T {
    const base = this.#revision;
    const changes: Change[] = [];
    const write = (change: Change) => {
      if (changes.push(change) === 1) this.#uncommitted.push({ revision: base + 1, changes });
      this.#revision = base + 1;
      this.#apply(change, change.previous);
      this.#commits.write(
        () => {
          this.#revert(change);
          this.#revision = base;
        },
        () => this.#table.insert(base + 1, changes.length - 1, change),
      );
    };
    return make({
      put: (key, value, lease) => {
        const previous = this.#records.get(key);
        const record = makeRecord({
          key,
          createRevision: previous?.createRevision ?? base + 1,
          modRevision: base + 1,
          version: (previous?.version ?? 0) + 1,
          value,
          lease,
        });
        write({ type: "put", record, previous });
        return previous;
      },
      delete: (range) => {
        const records = this.#records.slice(range);
        for (const previous of records) write({ type: "delete", key: previous.key, previous });
        return records;
      },
    });
  }

  /** Makes everything before `revision` unreadable. Throws RpcError: compacted already, future revision. */
  compact(revision: number): void {
    if (revision > this.#revision) throw futureRevision();
    if (revision <= this.#compactedRevision) throw compacted();
    const before = this.#compactedRevision;
    this.#compactedRevision = revision;
    this.#commits.write(
      () => {
        this.#compactedRevision = before;
      },
      () => {
        this.#numbers.set("compacted_revision", revision);
        // The rows that show it may be deleted.
        this.#numbers.set("revision", this.#revision);
      },
    );
  }

  committed(): void {
    const revisions = this.#uncommitted;
    this.#uncommitted = [];
    this.#committedRevision = this.#revision;
    if (revisions.length > 0) this.#onCommitted(revisions);
  }

  undone(): void {
    this.#uncommitted = [];
  }

  #apply(change: Change, previous: KeyRecord | undefined): void {
    const key = keyOfChange(change);
    if (change.type === "put") this.#records.set(change.record);
    else this.#records.delete(key);
    const lease = change.type === "put" ? change.record.lease : 0n;
    this.#attachments.move(key, previous?.lease ?? 0n, lease);
  }

  #revert(change: Change): void {
    const key = keyOfChange(change);
    if (change.previous === undefined) this.#records.delete(key);
    else this.#records.set(change.previous);
    const lease = change.type === "put" ? change.record.lease : 0n;
    this.#attachments.move(key, lease, change.previous?.lease ?? 0n);
  }
}

/** Writes within one revision. Throws RpcError if the write fails. */
export interface RevisionWriter {
  /** Writes a record, attached to `lease` (0 = none); returns the previous record. */
  put(key: Key, value: Uint8Array, lease: bigint): KeyRecord | undefined;
  /** Deletes a range; returns the deleted records. */
  delete(range: KeyRange): readonly KeyRecord[];
}
