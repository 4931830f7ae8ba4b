/** The keys under `subnets/` as records: where they are, what they hold, and the reading of all of them at once. */

import type { StoredLease } from "../acquire.ts";
import type { LeaseAttributes } from "../lease.ts";
import { decodeLeaseKey, decodeLeaseValue, isProblem, type Problem } from "../lease-codec.ts";
import type { LeaseEntry } from "../lease-view.ts";
import type { Etcd2Connection } from "./etcd2-connection.ts";
import { type KeysListing, listKeys } from "./etcd2-watch.ts";
import { isRefusal, type KeysNode } from "./keys-api.ts";

/** A key under `subnets/`, in what a write has to know of it. */
export interface RecordState {
  /** The part after `subnets/`. */
  readonly key: string;
  readonly createdIndex: number;
  readonly modifiedIndex: number;
  /** Whether it expires; if not, it is a reservation. */
  readonly hasTtl: boolean;
}

/** A record as it was read: with attributes, or with what is wrong with its value. */
export type Etcd2Record = StoredLease &
  RecordState &
  (
    | { readonly attributes: LeaseAttributes; readonly valueProblem: undefined }
    | { readonly attributes: undefined; readonly valueProblem: string }
  );

/** Where the records are. */
export interface RecordStore {
  readonly connection: Etcd2Connection;
  /** "/coreos.com/network/subnets". */
  readonly directory: string;
  /** Wall-clock time in ms since the epoch. */
  readonly wallClockMs: () => number;
}

/** A key and its record, or why it is none. A junk value is a record all the same: its subnet is taken. */
export type RecordEntry = readonly [key: string, content: Etcd2Record | Problem];

/** Everything under `subnets/`, as it was in `state`. */
export interface RecordListing extends KeysListing {
  readonly entries: readonly RecordEntry[];
}

/** Reads everything, by one request. Throws StoreError. */
export async function listRecords(store: RecordStore): Promise<RecordListing> {
  const listing = await listKeys(store.connection, store.directory);
  return { ...listing, entries: listing.leaves.map((node) => decodeRecord(store, node)) };
}

/** The records in a listing. */
export const recordsIn = (listing: RecordListing): readonly Etcd2Record[] =>
  listing.entries
    .map(([, content]) => content)
    .filter((content): content is Etcd2Record => !isProblem(content));

/** The record of `key` now; undefined = there is none. Throws StoreError. */
export async function readRecord(store: RecordStore, key: string): Promise<Etcd2Record | undefined> {
  const request = { method: "GET", key: pathOf(store, key), query: { quorum: "true" } } as const;
  const { body } = await store.connection.call(request);
  if (isRefusal(body)) return undefined;
  const [, content] = decodeRecord(store, body.node);
  return isProblem(content) ? undefined : content;
}

export function decodeRecord(store: RecordStore, node: KeysNode): RecordEntry {
  const key = nameOf(store, node.key);
  const subnets = decodeLeaseKey(key);
  if (isProblem(subnets)) return [key, subnets];
  const state = { key, subnets, ...stateOf(node) };
  const attributes = decodeLeaseValue(node.value);
  return isProblem(attributes)
    ? [key, { ...state, attributes: undefined, valueProblem: attributes.problem }]
    : [key, { ...state, attributes, valueProblem: undefined }];
}

export const stateOf = ({ createdIndex, modifiedIndex, hasTtl }: KeysNode): Omit<RecordState, "key"> => ({
  createdIndex,
  modifiedIndex,
  hasTtl,
});

/** What peers see of an entry. */
export function leaseEntryOf([key, content]: RecordEntry): LeaseEntry {
  if (isProblem(content)) return [key, content];
  const { subnets, attributes, valueProblem, createdIndex, modifiedIndex, hasTtl } = content;
  if (attributes === undefined) return [key, { problem: valueProblem }];
  const renewedAt = hasTtl ? BigInt(modifiedIndex) : undefined;
  return [key, { key, subnets, attributes, establishedAt: BigInt(createdIndex), renewedAt }];
}

/** The part of an etcd key after `subnets/`. */
export const nameOf = (store: RecordStore, key: string): string => key.slice(store.directory.length + 1);

/** The etcd key of a record. */
export const pathOf = (store: RecordStore, key: string): string => `${store.directory}/${key}`;
