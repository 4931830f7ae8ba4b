/** The keys under `subnets/` as records: where they are, what they hold, and the reading of all of them at once. */

import type { StoredLease } from "../acquire.ts";
import type { Lease } from "../lease.ts";
import { decodeLeaseKey, decodeLeaseValue, isProblem, type Problem } from "../lease-codec.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { type KeyRange, keysUnder, listRange, toBytes, toText } from "./etcd-range.ts";
import type { KeyValue } from "./kv_pb.ts";

/** A key under `subnets/`, in what a write has to know of it. */
export interface RecordState {
  /** The part after `subnets/`. */
  readonly key: string;
  readonly value: string;
  readonly modRevision: bigint;
  /** The etcd lease it hangs on; 0 = none: a reservation. */
  readonly leaseId: bigint;
}

/** A record as it was read. */
export interface EtcdRecord extends StoredLease, RecordState {
  /** Why there are no attributes, if there are none. */
  readonly valueProblem: string | undefined;
}

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

/** All records, and the keys beside them that are none, as of `revision`. */
export interface RecordListing {
  readonly records: readonly EtcdRecord[];
  readonly junkKeys: readonly (Problem & { readonly key: string })[];
  readonly revision: bigint;
}

/** Reads everything: one request for up to 10,000 leases. Throws StoreError. */
export async function listRecords(store: RecordStore): Promise<RecordListing> {
  const { kvs, revision } = await listRange(store.connection, store.range);
  return { ...sortRecords(store, kvs), revision };
}

/** Tells records from junk keys. */
export function sortRecords(
  store: RecordStore,
  kvs: readonly KeyValue[],
): Pick<RecordListing, "records" | "junkKeys"> {
  const records: EtcdRecord[] = [];
  const junkKeys: (Problem & { key: string })[] = [];
  for (const kv of kvs) {
    const record = decodeRecord(store, kv);
    if (isProblem(record)) junkKeys.push({ key: nameOf(store, kv), ...record });
    else records.push(record);
  }
  return { records, junkKeys };
}

/** The record of `key` now; undefined = there is none. Throws StoreError. */
export async function readRecord(store: RecordStore, key: string): Promise<EtcdRecord | undefined> {
  const request = { key: pathOf(store, key) };
  const { kvs } = await store.connection.call(({ kv }, options) => kv.range(request, options));
  const record = kvs[0] === undefined ? undefined : decodeRecord(store, kvs[0]);
  return record === undefined || isProblem(record) ? undefined : record;
}

/** A problem = the key is no subnet. A junk value is a record without attributes: its subnet is taken. */
export function decodeRecord(store: RecordStore, kv: KeyValue): EtcdRecord | Problem {
  const key = nameOf(store, kv);
  const subnets = decodeLeaseKey(key);
  if (isProblem(subnets)) return subnets;
  const value = toText(kv.value);
  const attributes = decodeLeaseValue(value);
  const state = { key, subnets, value, modRevision: kv.modRevision, leaseId: kv.lease };
  return isProblem(attributes)
    ? { ...state, attributes: undefined, valueProblem: attributes.problem }
    : { ...state, attributes, valueProblem: undefined };
}

/** The lease in a record; undefined = its value is junk. */
export const leaseOf = ({ key, subnets, attributes }: EtcdRecord): Lease | undefined =>
  attributes && { key, subnets, attributes };

/** The part of an etcd key after `subnets/`. */
export const nameOf = (store: RecordStore, kv: KeyValue): string => toText(kv.key).slice(store.prefix.length);

/** The etcd key of a record. */
export const pathOf = (store: RecordStore, key: string): Uint8Array<ArrayBuffer> =>
  toBytes(store.prefix + key);
