/**
 * Keys and ranges of keys. A key's bytes are kept one to a character (ISO 8859-1): such strings compare as the bytes
 * do, and serve in maps.
 */

/** A key: characters 0…255. */
export type Key = string;

/** The keys from `from` up to but without `to`; `to` undefined = up to the last. */
export interface KeyRange {
  readonly from: Key;
  readonly to: Key | undefined;
}

export const keyOf = (bytes: Uint8Array): Key =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");

export const bytesOf = (key: Key): Buffer => Buffer.from(key, "latin1");

/** The range that `key` and `range_end` of a request mean: one key, all from a key on (end "\0"), or an interval. */
export function rangeOf(key: Uint8Array, rangeEnd: Uint8Array): KeyRange {
  const from = keyOf(key);
  if (rangeEnd.length === 0) return { from, to: singleEnd(from) };
  return { from, to: rangeEnd.length === 1 && rangeEnd[0] === 0 ? undefined : keyOf(rangeEnd) };
}

/** The end of the range that holds `key` alone: the next string there is. */
export const singleEnd = (key: Key): Key => `${key}\0`;

export const isWithin = (key: Key, { from, to }: KeyRange): boolean =>
  key >= from && (to === undefined || key < to);
