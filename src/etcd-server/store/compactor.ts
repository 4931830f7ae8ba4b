/**
 * Deletes superfluous rows: after a compaction, all that was replaced or deleted by its revision. Works in small steps, so
 * that requests do not wait; continues after a restart.
 *
 * Also compacts automatically, so that the size of the database stays bounded.
 */

import type { StatementSync } from "node:sqlite";
import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import type { Commits } from "../storage/commits.ts";
import type { Database } from "../storage/database.ts";
import type { Numbers } from "../storage/stored-numbers.ts";
import type { Keyspace } from "./keyspace.ts";

/** The minimum of revisions that are kept; the maximum is twice as many. */
const KEPT_REVISIONS = 10_000;
const REVISIONS_AT_ONCE = 200;

export class Compactor {
  readonly #keyspace: Keyspace;
  readonly #commits: Commits;
  readonly #numbers: Numbers;
  readonly #logger: Logger;
  readonly #deleteReplaced: StatementSync;
  readonly #deleteTombstones: StatementSync;
  #swept: number;
  #sweeping: Promise<void> | undefined;
  #isStopped = false;

  constructor(database: Database, keyspace: Keyspace, commits: Commits, numbers: Numbers, logger: Logger) {
    this.#keyspace = keyspace;
    this.#commits = commits;
    this.#numbers = numbers;
    this.#logger = logger;
    this.#deleteReplaced = database.sql.prepare(`DELETE FROM change WHERE (revision, sub) IN (
      SELECT old.revision, old.sub FROM change AS new JOIN change AS old
        ON old.key = new.key AND old.revision < new.revision
      WHERE new.revision BETWEEN ? AND ?)`);
    this.#deleteTombstones = database.sql.prepare(
      "DELETE FROM change WHERE is_delete AND revision BETWEEN ? AND ?",
    );
    this.#swept = numbers.get("swept_revision") ?? 0;
    if (this.#swept < keyspace.compactedRevision) void this.sweep();
  }

  /** Compacts if enough revisions can be dropped. */
  compactIfLong(): void {
    const { revision, compactedRevision } = this.#keyspace;
    if (revision - Math.max(compactedRevision, 0) < 2 * KEPT_REVISIONS) return;
    try {
      this.#keyspace.compact(revision - KEPT_REVISIONS);
    } catch (error) {
      this.#logger.debug(`Failed to compact; retrying later: ${messageOf(error)}`);
      return;
    }
    void this.sweep();
  }

  /** Deletes the rows that the last compaction made superfluous; resolves when done, or when it failed and is retried later. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  /** Resolves when all work has stopped. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#sweeping;
  }

  async #sweep(): Promise<void> {
    try {
      await this.#commits.durable();
      while (!this.#isStopped && this.#swept < this.#keyspace.compactedRevision) {
        this.#sweepNext();
        await this.#commits.durable();
        await new Promise((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      this.#logger.debug(`Failed to compact completely; continuing later: ${messageOf(error)}`);
    }
  }

  #sweepNext(): void {
    const before = this.#swept;
    const last = Math.min(before + REVISIONS_AT_ONCE, this.#keyspace.compactedRevision);
    this.#swept = last;
    this.#commits.write(
      () => {
        this.#swept = before;
      },
      () => {
        this.#deleteReplaced.run(before + 1, last);
        this.#deleteTombstones.run(before + 1, last);
        this.#numbers.set("swept_revision", last);
      },
    );
  }
}
