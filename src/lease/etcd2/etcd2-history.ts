/**
 * Distinguishes an etcd from one that replaced it during an outage: one that was set up again starts its indexes over
 * and may have passed those seen already. The v2 API cannot read the past, but keys that were not written since are
 * unchanged, to the nanosecond of their expiry.
 */

import type { KeyRecord } from "../keys/key-value-store.ts";
import type { Etcd2Connection, StoreState } from "./etcd2-connection.ts";
import { isRefusal, isRemoval, type KeysAnswer, recordOf } from "./keys-api.ts";

/** When a key was last written, by etcd's index, and until when it lives, to the nanosecond. */
type Write = Pick<KeyRecord, "revision" | "lifeId">;

const isSameWrite = (one: Write, other: Write): boolean =>
  one.revision === other.revision && one.lifeId === other.lifeId;

/** What is known of the keys of a directory. */
export class KeysHistory {
  readonly #writes = new Map<string, Write>();
  /** The key that was written last: unlikely to recur in another store. */
  #witness: KeyRecord | undefined;

  constructor(records: readonly KeyRecord[]) {
    this.restart(records);
  }

  /** Starts over with a listing. */
  restart(records: readonly KeyRecord[]): void {
    this.#writes.clear();
    this.#witness = undefined;
    for (const record of records) this.#note(record);
  }

  /** Adds a change. */
  take(answer: KeysAnswer): void {
    const { node } = answer;
    if (!isRemoval(answer)) {
      if (!node.isDirectory) this.#note(recordOf(node));
    } else if (node.isDirectory) {
      this.restart([]); // with all that was in it
    } else {
      this.#writes.delete(node.key);
      if (this.#witness?.key === node.key) this.#witness = undefined;
    }
  }

  /** Whether a listing contains nothing of what is known: then it is another store's. */
  isForeignTo(records: readonly KeyRecord[]): boolean {
    // Not by the count alone: a young etcd soon counts as far as another did.
    const isKnown = (record: KeyRecord) => {
      const write = this.#writes.get(record.key);
      return write !== undefined && isSameWrite(write, record);
    };
    return this.#writes.size > 0 && !records.some(isKnown);
  }

  /** False = the data are not those of the state `seen`, or that is not certain. Throws StoreError. */
  async continuesIn(connection: Etcd2Connection, seen: StoreState): Promise<boolean> {
    const witness = this.#witness;
    if (witness === undefined) return false;
    const request = { method: "GET", key: witness.key, query: { quorum: "true" } } as const;
    const { body, state } = await connection.call(request);
    if (isRefusal(body) || state.clusterId !== seen.clusterId) return false;
    const now = recordOf(body.node);
    const isRenewed = now.revision > BigInt(seen.index);
    return now.createdAt === witness.createdAt && (isSameWrite(now, witness) || isRenewed);
  }

  #note(record: KeyRecord): void {
    const { revision, lifeId } = record;
    this.#writes.set(record.key, { revision, lifeId });
    if (this.#witness === undefined || revision >= this.#witness.revision) this.#witness = record;
  }
}
