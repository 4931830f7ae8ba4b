/** The keys under `subnets/` as records: where they are, what they hold, and the reading of all of them at once. */

import type { KeyValue } from "../../etcd-api/kv_pb.ts";
import type { StoredLease } from "../acquire.ts";
import type { LeaseAttributes } from "../lease.ts";
import { decodeLeaseKey, decodeLeaseValue, isProblem, type Problem } from "../lease-codec.ts";
import type { LeaseEntry } from "../lease-view.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { type Position, positionOf } from "./etcd-position.ts";
import { type KeyRange, keysUnder, listRange, toBytes, toText } from "./etcd-range.ts";

/** A key under `subnets/`, in what a write has to know of it. */
export interface RecordState {
  /** The part after `subnets/`. */
  readonly key: string;
  readonly value: string;
  readonly modRevision: bigint;
  /** The etcd lease it hangs on; 0 = none: a reservation. */
  readonly leaseId: bigint;
}

/** A record as it was read: with attributes, or with what is wrong with its value. */
export type EtcdRecord = StoredLease &
  RecordState & { readonly createRevision: bigint } & (
    | { readonly attributes: LeaseAttributes; readonly valueProblem: undefined }
    | { readonly attributes: undefined; readonly valueProblem: string }
  );

/** Where the records are. */
export interface RecordStore {
  readonly connection: EtcdConnection;
  /** "/coreos.com/network/subnets/". */
  readonly prefix: string;
  readonly range: KeyRange;
  /** Wall-clock time in ms since the epoch. */
  readonly wallClockMs: () => number;
}

export function createRecordStore(connection: EtcdConnection, wallClockMs: () => number): RecordStore {
  const prefix = `${connection.settings.prefix}/subnets/`;
  return { connection, prefix, range: keysUnder(prefix), wallClockMs };
}

/** Everything under `subnets/`, as of `position`. */
export interface RecordListing {
  readonly entries: readonly RecordEntry[];
  readonly position: Position;
}

/** A key and its record, or why it is none. A junk value is a record all the same: its subnet is taken. */
export type RecordEntry = readonly [key: string, content: EtcdRecord | Problem];

/** Reads everything: one request for up to 10,000 leases. Throws StoreError. */
export async function listRecords(store: RecordStore): Promise<RecordListing> {
  const listing = await listRange(store.connection, store.range);
  return { entries: listing.kvs.map((kv) => decodeRecord(store, kv)), position: positionOf(listing) };
}

/** The records in a listing. */
export const recordsIn = (listing: RecordListing): readonly EtcdRecord[] =>
  listing.entries
    .map(([, content]) => content)
    .filter((content): content is EtcdRecord => !isProblem(content));

/** The record of `key` now; undefined = there is none. Throws StoreError. */
export async function readRecord(store: RecordStore, key: string): Promise<EtcdRecord | undefined> {
  const request = { key: pathOf(store, key) };
  const { kvs } = await store.connection.call(({ kv }, options) => kv.range(request, options));
  if (kvs[0] === undefined) return undefined;
  const [, content] = decodeRecord(store, kvs[0]);
  return isProblem(content) ? undefined : content;
}

export function decodeRecord(store: RecordStore, kv: KeyValue): RecordEntry {
  const key = nameOf(store, kv);
  const subnets = decodeLeaseKey(key);
  if (isProblem(subnets)) return [key, subnets];
  const value = toText(kv.value);
  const attributes = decodeLeaseValue(value);
  const { createRevision, modRevision, lease: leaseId } = kv;
  const state = { key, subnets, value, createRevision, modRevision, leaseId };
  return isProblem(attributes)
    ? [key, { ...state, attributes: undefined, valueProblem: attributes.problem }]
    : [key, { ...state, attributes, valueProblem: undefined }];
}

/** What peers see of an entry. */
export function leaseEntryOf([key, content]: RecordEntry): LeaseEntry {
  if (isProblem(content)) return [key, content];
  const { subnets, attributes, valueProblem, createRevision, modRevision, leaseId } = content;
  if (attributes === undefined) return [key, { problem: valueProblem }];
  const renewedAt = leaseId === 0n ? undefined : modRevision;
  return [key, { key, subnets, attributes, establishedAt: createRevision, renewedAt }];
}

/** The part of an etcd key after `subnets/`. */
export const nameOf = (store: RecordStore, kv: KeyValue): string => toText(kv.key).slice(store.prefix.length);

/** The etcd key of a record. */
export const pathOf = (store: RecordStore, key: string): Uint8Array<ArrayBuffer> =>
  toBytes(store.prefix + key);
