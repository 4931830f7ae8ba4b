/** The table of single numbers, beside those of keys and leases. */

import type { StatementSync } from "node:sqlite";
import { checksumOf, isIntact } from "./checksum.ts";
import { type Database, damaged } from "./database.ts";

/**
 * - `revision`: the last one at the time of a compaction, which the remaining rows may not show.
 * - `compacted_revision`: nothing before it can be read.
 * - `swept_revision`: superfluous rows are deleted up to this revision.
 */
export type NumberName = "revision" | "compacted_revision" | "swept_revision";
/** The ids that clients see, drawn when the store is created. */
export type IdName = "cluster_id" | "member_id";

export class Numbers {
  readonly #select: StatementSync;
  readonly #upsert: StatementSync;
  readonly #path: string;

  constructor({ sql, path }: Database) {
    this.#path = path;
    this.#select = sql.prepare("SELECT value, checksum FROM number WHERE name = ?");
    this.#select.setReadBigInts(true);
    this.#upsert = sql.prepare(
      "INSERT INTO number VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value, checksum = excluded.checksum",
    );
  }

  /** Throws ConfigError if it is damaged. */
  get(name: NumberName): number | undefined {
    const value = this.#read(name);
    return value === undefined ? undefined : Number(value);
  }

  set(name: NumberName, value: number): void {
    this.#write(name, value);
  }

  /** A number of 63 bits, drawn at its first use. Throws ConfigError if it is damaged. */
  id(name: IdName, draw: () => bigint): bigint {
    const known = this.#read(name);
    if (known !== undefined) return known;
    const id = draw();
    this.#write(name, id);
    return id;
  }

  #read(name: string): bigint | undefined {
    const row = this.#select.get(name);
    if (row === undefined) return undefined;
    const value = row.value as bigint;
    if (!isIntact([name, value], row.checksum)) throw damaged(this.#path, `checksum mismatch in ${name}`);
    return value;
  }

  #write(name: string, value: number | bigint): void {
    this.#upsert.run(name, value, checksumOf([name, value]));
  }
}
