/**
 * Group commit. Everything written during one turn of the event loop is one transaction, forced to disk once; whoever
 * is answered waits for it. A thousand hosts that register at once so cost some dozen disk writes, not a thousand.
 *
 * If a transaction cannot be stored (full disk), none of it has happened: memory is taken back to what is on disk and
 * everybody who waited is told.
 */

import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import type { Database } from "./database.ts";
import { refusalFor } from "./database-errors.ts";

interface Batch {
  /** Takes the changes in memory back, the latest first. */
  readonly undo: (() => void)[];
  readonly done: PromiseWithResolvers<void>;
}

/** Told when a batch is on disk, or when it was undone. */
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
   * Writes what has just been changed in memory, as part of the open batch; `undo` takes that change back. Throws
   * RpcError if it cannot be written: then everything in the batch is undone, this change included.
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
    if (!this.#isHealthy) this.#logger.info("the store's database takes writes again");
    this.#isHealthy = true;
    this.#listener?.committed();
    batch.done.resolve();
  }

  #begin(): Batch {
    this.#database.sql.exec("BEGIN IMMEDIATE");
    const batch: Batch = { undo: [], done: Promise.withResolvers() };
    batch.done.promise.catch(() => {}); // nobody may be waiting
    setImmediate(() => this.flush());
    return batch;
  }

  #fail(error: unknown): Error {
    const refusal = refusalFor(error);
    if (this.#isHealthy) {
      this.#logger.error(
        `the store cannot write to ${this.#database.path}: ${messageOf(error)}; nothing acknowledged is lost, ` +
          "requests that write are refused until it can",
      );
    }
    this.#isHealthy = false;
    const batch = this.#batch;
    this.#batch = undefined;
    try {
      if (this.#database.sql.isTransaction) this.#database.sql.exec("ROLLBACK");
    } catch (rollbackError) {
      this.#logger.error(`the store cannot roll back: ${messageOf(rollbackError)}`);
    }
    for (const undo of batch?.undo.reverse() ?? []) undo();
    this.#listener?.undone();
    batch?.done.reject(refusal);
    return refusal;
  }
}
