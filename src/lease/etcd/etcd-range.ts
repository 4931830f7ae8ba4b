/** Keys of etcd as text, and the reading of all keys below a prefix at one revision. */

import type { KeyValue } from "../../etcd-api/kv_pb.ts";
import type { KeyRecord } from "../keys/key-value-store.ts";
import type { EtcdConnection } from "./etcd-connection.ts";

/** Keys per request; a request for everything would be one huge message. */
const PAGE_SIZE = 10_000n;

/** A single key (`end` empty) or all keys from `key` up to, not including, `end`. */
export interface KeyRange {
  readonly key: Uint8Array<ArrayBuffer>;
  readonly end: Uint8Array<ArrayBuffer>;
}

/** Everything in a range, as of `revision` of the store. */
export interface Listing {
  readonly records: readonly KeyRecord[];
  readonly revision: bigint;
  /** The connection's `dialCount` when reading began. */
  readonly dialCount: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A key or value as etcd has it: UTF-8. */
export const toBytes = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text);

/** A key or value as text; what is not valid UTF-8 becomes U+FFFD. */
export const toText = (bytes: Uint8Array): string => decoder.decode(bytes);

/** The record of a key; what is not valid UTF-8 has U+FFFD in its place. */
export const recordOf = ({ key, value, createRevision, modRevision, lease }: KeyValue): KeyRecord => ({
  key: toText(key),
  value: toText(value),
  createdAt: createRevision,
  revision: modRevision,
  lifeId: lease === 0n ? undefined : String(lease),
});

/** All keys below a path that ends in "/", else the key itself. */
export const rangeOf = (path: string): KeyRange =>
  path.endsWith("/") ? keysUnder(path) : { key: toBytes(path), end: new Uint8Array() };

/** All keys that begin with `prefix`, which ends in an ASCII character. */
export function keysUnder(prefix: string): KeyRange {
  const key = toBytes(prefix);
  const end = key.slice();
  end[end.length - 1]!++;
  return { key, end };
}

/** Reads a range, in pages of one and the same revision, each decoded before the next is read. Throws StoreError. */
export async function listRange(connection: EtcdConnection, range: KeyRange): Promise<Listing> {
  const records: KeyRecord[] = [];
  let { dialCount } = connection;
  let revision = 0n;
  let from = range.key;
  for (;;) {
    const request = { key: from, rangeEnd: range.end, limit: PAGE_SIZE, revision };
    const page = await connection.call(({ kv }, options) => kv.range(request, options));
    for (const kv of page.kvs) records.push(recordOf(kv));
    if (revision === 0n) {
      revision = page.header?.revision ?? 0n;
      dialCount = connection.dialCount;
    }
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return { records, revision, dialCount };
    from = new Uint8Array([...last.key, 0]); // the next possible key
  }
}
