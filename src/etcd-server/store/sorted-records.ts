/**
 * Records by key, in the order of the keys: a map for single ones, and sorted pieces of bounded length for ranges, so
 * that a change moves some hundred entries at most, however many records exist.
 */

import type { Key, KeyRange } from "../protocol/keys.ts";

/** A piece that grows beyond this is halved. */
const MAX_PIECE_LENGTH = 512;

export class SortedRecords<R extends { readonly key: Key }> {
  readonly #byKey = new Map<Key, R>();
  /** None is empty. */
  readonly #pieces: R[][] = [];

  get size(): number {
    return this.#byKey.size;
  }

  get(key: Key): R | undefined {
    return this.#byKey.get(key);
  }

  /** Adds the record, or replaces the one of the same key. */
  set(record: R): void {
    const isNew = !this.#byKey.has(record.key);
    this.#byKey.set(record.key, record);
    const index = this.#pieceOf(record.key);
    const piece = this.#pieces[index];
    if (piece === undefined) {
      this.#pieces.push([record]);
      return;
    }
    const at = firstFrom(piece, record.key);
    piece.splice(at, isNew ? 0 : 1, record);
    if (piece.length > MAX_PIECE_LENGTH) {
      this.#pieces.splice(index + 1, 0, piece.splice(MAX_PIECE_LENGTH / 2));
    }
  }

  delete(key: Key): void {
    if (!this.#byKey.delete(key)) return;
    const index = this.#pieceOf(key);
    const piece = this.#pieces[index]!;
    piece.splice(firstFrom(piece, key), 1);
    if (piece.length === 0) this.#pieces.splice(index, 1);
  }

  /** The records of a range in order, at most `limit`. */
  slice(range: KeyRange, limit = Number.POSITIVE_INFINITY): R[] {
    const found: R[] = [];
    for (const [piece, start, end] of this.#sections(range)) {
      const room = limit - found.length;
      if (room <= 0) break;
      for (let at = start; at < Math.min(end, start + room); at++) found.push(piece[at]!);
    }
    return found;
  }

  count(range: KeyRange): number {
    let count = 0;
    for (const [, start, end] of this.#sections(range)) count += end - start;
    return count;
  }

  *#sections({ from, to }: KeyRange): Generator<readonly [piece: R[], start: number, end: number]> {
    for (let index = this.#pieceOf(from); index < this.#pieces.length; index++) {
      const piece = this.#pieces[index]!;
      if (to !== undefined && piece[0]!.key >= to) return;
      const isWhole = to === undefined || piece.at(-1)!.key < to;
      const start = firstFrom(piece, from);
      const end = isWhole ? piece.length : firstFrom(piece, to);
      if (end > start) yield [piece, start, end];
    }
  }

  /** The piece that contains `key` or would contain it: the last one that does not start after it. */
  #pieceOf(key: Key): number {
    let low = 0;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#pieces[middle]![0]!.key <= key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** The position of the first record whose key is not less than `key`. */
function firstFrom(piece: readonly { readonly key: Key }[], key: Key): number {
  let low = 0;
  let high = piece.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (piece[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
