/** The keys that are attached to each lease. */

import type { Key } from "../protocol/keys.ts";

export class Attachments {
  readonly #keys = new Map<bigint, Set<Key>>();

  /** Moves a key from one lease to another; 0 = none. */
  move(key: Key, from: bigint, to: bigint): void {
    if (from === to) return;
    const left = this.#keys.get(from);
    left?.delete(key);
    if (left?.size === 0) this.#keys.delete(from);
    if (to === 0n) return;
    const joined = this.#keys.get(to);
    if (joined === undefined) this.#keys.set(to, new Set([key]));
    else joined.add(key);
  }

  /** The lease's keys, sorted. */
  keysOf(lease: bigint): readonly Key[] {
    return [...(this.#keys.get(lease) ?? [])].sort();
  }
}
