/**
 * Keys and ranges of keys. A key is a string with one character per byte (ISO 8859-1): such strings compare like the bytes
 * and are usable as map keys.
 */

/** A key: characters 0…255. */
export type Key = string;

/** The keys from `from` to `to`, exclusive; `to` undefined = no upper end. */
export interface KeyRange {
  readonly from: Key;
  readonly to: Key | undefined;
}

export const keyOf = (bytes: Uint8Array): Key =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");

export const bytesOf = (key: Key): Buffer => Buffer.from(key, "latin1");

/** The range of `key` and `range_end` in a request: one key, all keys from a key (end "\0"), or an interval. */
export function rangeOf(key: Uint8Array, rangeEnd: Uint8Array): KeyRange {
  const from = keyOf(key);
  if (rangeEnd.length === 0) return { from, to: singleEnd(from) };
  return { from, to: rangeEnd.length === 1 && rangeEnd[0] === 0 ? undefined : keyOf(rangeEnd) };
}

/** The end of the range that contains only `key`: the next string. */
export const singleEnd = (key: Key): Key => `${key}\0`;

export const isWithin = (key: Key, { from, to }: KeyRange): boolean =>
  key >= from && (to === undefined || key < to);
