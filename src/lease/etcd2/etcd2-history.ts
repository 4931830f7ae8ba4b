/**
 * Tells an etcd from another one that took its place during an outage: set up again, it counts its indexes anew and may
 * be beyond the ones seen already. v2 has no look into the past, but keys that nobody touched are as they were, to the
 * nanosecond of their expiry.
 */

import type { Etcd2Connection, StoreState } from "./etcd2-connection.ts";
import { isRefusal, isRemoval, type KeysAnswer, type KeysNode } from "./keys-api.ts";

/** What is known of the keys of a directory. */
export class KeysHistory {
  /** The index at which each was last written. */
  readonly #indexes = new Map<string, number>();
  /** The one that was written last: hard to come by a second time. */
  #witness: KeysNode | undefined;

  /** Begins anew with a listing. */
  restart(leaves: readonly KeysNode[]): void {
    this.#indexes.clear();
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
      this.#indexes.delete(node.key);
      if (this.#witness?.key === node.key) this.#witness = undefined;
    }
  }

  /** Whether a listing has nothing left of what was there: then it is another store's. */
  isForeignTo(leaves: readonly KeysNode[]): boolean {
    return (
      this.#indexes.size > 0 && !leaves.some((node) => this.#indexes.get(node.key) === node.modifiedIndex)
    );
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
    this.#indexes.set(node.key, node.modifiedIndex);
    if (this.#witness === undefined || node.modifiedIndex >= this.#witness.modifiedIndex)
      this.#witness = node;
  }
}
