/**
 * Tells an etcd from another one that took its place during an outage: set up again, it counts its indexes anew and may
 * be beyond the ones seen already. v2 has no look into the past, but keys that nobody touched are as they were, to the
 * nanosecond of their expiry.
 */

import type { Etcd2Connection, StoreState } from "./etcd2-connection.ts";
import { isRefusal, isRemoval, type KeysAnswer, type KeysNode } from "./keys-api.ts";

/** What is known of the keys of a directory. */
export class KeysHistory {
  /** How each was last written: when, in etcd's count, and until when, to the nanosecond. */
  readonly #writes = new Map<string, Pick<KeysNode, "modifiedIndex" | "expiration">>();
  /** The one that was written last: hard to come by a second time. */
  #witness: KeysNode | undefined;

  /** Begins anew with a listing. */
  restart(leaves: readonly KeysNode[]): void {
    this.#writes.clear();
    this.#witness = undefined;
    for (const node of leaves) this.#note(node);
  }

  take(answer: KeysAnswer): void {
    const { node } = answer;
    if (!isRemoval(answer)) {
      if (!node.isDirectory) this.#note(node);
    } else if (node.isDirectory) {
      this.restart([]); // with all that was in it
    } else {
      this.#writes.delete(node.key);
      if (this.#witness?.key === node.key) this.#witness = undefined;
    }
  }

  /** Whether a listing has nothing left of what was there: then it is another store's. */
  isForeignTo(leaves: readonly KeysNode[]): boolean {
    // Not by the count alone: a young etcd soon counts as far as another did.
    const isKnown = ({ key, modifiedIndex, expiration }: KeysNode) => {
      const write = this.#writes.get(key);
      return write?.modifiedIndex === modifiedIndex && write.expiration === expiration;
    };
    return this.#writes.size > 0 && !leaves.some(isKnown);
  }

  /** False = the data are others than in the state `seen`, or it cannot be told. Throws StoreError. */
  async continuesIn(connection: Etcd2Connection, seen: StoreState): Promise<boolean> {
    const witness = this.#witness;
    if (witness === undefined) return false;
    const request = { method: "GET", key: witness.key, query: { quorum: "true" } } as const;
    const { body, state } = await connection.call(request);
    if (isRefusal(body) || state.clusterId !== seen.clusterId) return false;
    const { createdIndex, modifiedIndex, expiration } = body.node;
    const isUntouched = modifiedIndex === witness.modifiedIndex && expiration === witness.expiration;
    const isRenewed = modifiedIndex > seen.index;
    return createdIndex === witness.createdIndex && (isUntouched || isRenewed);
  }

  #note(node: KeysNode): void {
    const { modifiedIndex, expiration } = node;
    this.#writes.set(node.key, { modifiedIndex, expiration });
    if (this.#witness === undefined || node.modifiedIndex >= this.#witness.modifiedIndex)
      this.#witness = node;
  }
}
