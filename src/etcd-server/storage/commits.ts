/**
 * Group commit. Everything written during one turn of the event loop is one transaction, forced to disk once; the
 * answers wait for it. A thousand hosts that register at once cost some dozen disk writes, not a thousand.
 *
 * If a transaction fails (full disk), it is undone as a whole: the state in memory is reset to what is on disk, and all
 * requests that waited fail.
 */

import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import type { Database } from "./database.ts";
import { refusalFor } from "./database-errors.ts";

interface Batch {
  /** Revert the changes in memory, the latest first. */
  readonly undo: (() => void)[];
  readonly done: PromiseWithResolvers<void>;
}

/** Notified when a batch is on disk or was undone. */
export interface CommitListener {
  committed(): void;
  undone(): void;
}

const SETTLED = Promise.resolve();

export class Commits {
  readonly #database: Database;
  readonly #logger: Logger;
  #listener: CommitListener | undefined;
  #batch: Batch | undefined;
  #isHealthy = true;

  constructor(database: Database, logger: Logger) {
    this.#database = database;
    this.#logger = logger;
  }

  /** Whether the last write was stored. */
  get isHealthy(): boolean {
    return this.#isHealthy;
  }

  listen(listener: CommitListener): void {
    this.#listener = listener;
  }

  /**
   * Writes a change that was made in memory, as part of the open batch; `undo` reverts that change. Throws RpcError if the
   * write fails: then the whole batch is undone, including this change.
   */
  write(undo: () => void, store: () => void): void {
    try {
      this.#batch ??= this.#begin();
      this.#batch.undo.push(undo);
      store();
    } catch (error) {
      if (this.#batch === undefined) undo();
      throw this.#fail(error);
    }
  }

  /** Resolves once everything written so far is on disk. Rejects with RpcError if it could not be stored. */
  durable(): Promise<void> {
    return this.#batch?.done.promise ?? SETTLED;
  }

  /** Commits the open batch now. */
  flush(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    try {
      this.#database.sql.exec("COMMIT");
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#batch = undefined;
    if (!this.#isHealthy) this.#logger.info("Database of the embedded store accepts writes again");
    this.#isHealthy = true;
    this.#listener?.committed();
    batch.done.resolve();
  }

  #begin(): Batch {
    this.#database.sql.exec("BEGIN IMMEDIATE");
    const batch: Batch = { undo: [], done: Promise.withResolvers() };
    batch.done.promise.catch(() => {}); // possibly without a waiting request
    setImmediate(() => this.flush());
    return batch;
  }

  #fail(error: unknown): Error {
    const refusal = refusalFor(error);
    if (this.#isHealthy) {
      this.#logger.error(
        `Failed to write to ${this.#database.path}; acknowledged writes are safe, new ones are refused until the disk ` +
          `accepts them: ${messageOf(error)}`,
      );
    }
    this.#isHealthy = false;
    const batch = this.#batch;
    this.#batch = undefined;
    try {
      if (this.#database.sql.isTransaction) this.#database.sql.exec("ROLLBACK");
    } catch (rollbackError) {
      this.#logger.error(
        `Failed to roll back in ${this.#database.path}; restart the store if writes stay refused: ${messageOf(rollbackError)}`,
      );
    }
    for (const undo of batch?.undo.reverse() ?? []) undo();
    this.#listener?.undone();
    batch?.done.reject(refusal);
    return refusal;
  }
}
