/** Keys of etcd as text, and the reading of all keys below a prefix at one revision. */

import type { KeyValue } from "../../etcd-api/kv_pb.ts";
import type { EtcdConnection } from "./etcd-connection.ts";

/** Keys per request; a request for everything would be one huge message. */
const PAGE_SIZE = 10_000n;

/** A single key (`end` empty) or all keys from `key` up to, not including, `end`. */
export interface KeyRange {
  readonly key: Uint8Array<ArrayBuffer>;
  readonly end: Uint8Array<ArrayBuffer>;
}

/** Everything in a range, as it was at `revision` of the store. */
export interface Listing {
  readonly kvs: readonly KeyValue[];
  readonly revision: bigint;
  /** The connection's `dialCount` when reading began. */
  readonly dialCount: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const toBytes = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text);
export const toText = (bytes: Uint8Array): string => decoder.decode(bytes);

export const singleKey = (key: string): KeyRange => ({ key: toBytes(key), end: new Uint8Array() });

/** All keys that begin with `prefix`, which ends in an ASCII character. */
export function keysUnder(prefix: string): KeyRange {
  const key = toBytes(prefix);
  const end = key.slice();
  end[end.length - 1]!++;
  return { key, end };
}

/** Reads a range, in pages of one and the same revision. Throws StoreError. */
export async function listRange(connection: EtcdConnection, range: KeyRange): Promise<Listing> {
  const kvs: KeyValue[] = [];
  let { dialCount } = connection;
  let revision = 0n;
  let from = range.key;
  for (;;) {
    const request = { key: from, rangeEnd: range.end, limit: PAGE_SIZE, revision };
    const page = await connection.call(({ kv }, options) => kv.range(request, options));
    for (const kv of page.kvs) kvs.push(kv);
    if (revision === 0n) {
      revision = page.header?.revision ?? 0n;
      dialCount = connection.dialCount;
    }
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return { kvs, revision, dialCount };
    from = new Uint8Array([...last.key, 0]); // the next possible key
  }
}
