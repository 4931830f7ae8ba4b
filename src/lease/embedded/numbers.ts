/** The few numbers that the database holds besides keys and leases. */

import type { StatementSync } from "node:sqlite";
import type { Database } from "./database.ts";

/**
 * - `revision`: the last one when the store was compacted, which its rows may not tell any more.
 * - `compacted_revision`: nothing before it can be read.
 * - `swept_revision`: up to there the rows that compaction made superfluous are gone.
 */
export type NumberName = "revision" | "compacted_revision" | "swept_revision";
/** Who we are to clients, drawn when the store is made. */
export type IdName = "cluster_id" | "member_id";

export class Numbers {
  readonly #select: StatementSync;
  readonly #upsert: StatementSync;

  constructor({ sql }: Database) {
    this.#select = sql.prepare("SELECT value FROM number WHERE name = ?");
    this.#select.setReadBigInts(true);
    this.#upsert = sql.prepare(
      "INSERT INTO number VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    );
  }

  get(name: NumberName): number | undefined {
    const row = this.#select.get(name);
    return row === undefined ? undefined : Number(row.value);
  }

  set(name: NumberName, value: number): void {
    this.#upsert.run(name, value);
  }

  /** A number of 63 bits, drawn the first time it is asked for. */
  id(name: IdName, draw: () => bigint): bigint {
    const row = this.#select.get(name);
    if (row !== undefined) return row.value as bigint;
    const id = draw();
    this.#upsert.run(name, id);
    return id;
  }
}
