/**
 * Writes on records, each a compare-and-swap on the index at which the record was changed last.
 *
 * A record has a TTL, or none: then it is a reservation and stays one. A TTL lives on with the value, so a renewal writes
 * the value again.
 */

import { type LeaseAttributes, type OwnLease, overlapsPair, type SubnetPair } from "../lease.ts";
import { encodeLeaseKey, encodeLeaseValue } from "../lease-codec.ts";
import {
  pathOf,
  type RecordListing,
  type RecordState,
  type RecordStore,
  recordsIn,
  stateOf,
} from "./etcd2-records.ts";
import { isRefusal } from "./keys-api.ts";

/** An own lease just taken or extended, and its record. */
export interface Held {
  readonly lease: OwnLease;
  readonly record: RecordState;
}

/** Makes a new record; undefined = the key is there already. Throws StoreError, as all of these. */
export const createRecord = (
  store: RecordStore,
  subnets: SubnetPair,
  attributes: LeaseAttributes,
): Promise<Held | undefined> =>
  put(store, encodeLeaseKey(subnets), subnets, attributes, { prevExist: "false" }, true);

/** Makes a new record without TTL; undefined = the key is there already. */
export const createReservation = (
  store: RecordStore,
  subnets: SubnetPair,
  attributes: LeaseAttributes,
): Promise<Held | undefined> =>
  put(store, encodeLeaseKey(subnets), subnets, attributes, { prevExist: "false" }, false);

/** What a write compares. */
type RecordVersion = Pick<RecordState, "key" | "modifiedIndex">;

/** Extends a record's life and publishes the attributes; undefined = it is not as it was read any more. */
export const extendRecord = (
  store: RecordStore,
  { key, modifiedIndex, hasTtl }: RecordVersion & Pick<RecordState, "hasTtl">,
  subnets: SubnetPair,
  attributes: LeaseAttributes,
): Promise<Held | undefined> =>
  put(store, key, subnets, attributes, { prevIndex: String(modifiedIndex) }, hasTtl);

/** Deletes a record; false = it is not as it was read any more. */
export async function removeRecord(
  store: RecordStore,
  { key, modifiedIndex }: RecordVersion,
): Promise<boolean> {
  const query = { prevIndex: String(modifiedIndex) };
  const { body } = await store.connection.call({ method: "DELETE", key: pathOf(store, key), query });
  return !isRefusal(body);
}

/**
 * Whether an older record in the listing overlaps this one (other prefix lengths, or one family of a pair: the key alone
 * does not tell). Two hosts that make such records at once both look after their write; the later one gives way.
 */
export const isOutranked = (record: RecordState, subnets: SubnetPair, listing: RecordListing): boolean =>
  record.hasTtl &&
  recordsIn(listing).some(
    (other) =>
      other.key !== record.key &&
      other.createdIndex < record.createdIndex &&
      overlapsPair(other.subnets, subnets),
  );

async function put(
  store: RecordStore,
  key: string,
  subnets: SubnetPair,
  attributes: LeaseAttributes,
  condition: Readonly<Record<string, string>>,
  hasTtl: boolean,
): Promise<Held | undefined> {
  const { leaseTtlSeconds } = store.connection.settings.timings;
  const startMs = store.wallClockMs();
  const { body } = await store.connection.call({
    method: "PUT",
    key: pathOf(store, key),
    query: condition,
    form: { value: encodeLeaseValue(attributes), ...(hasTtl && { ttl: String(leaseTtlSeconds) }) },
  });
  if (isRefusal(body)) return undefined;
  const expiresAtMs = hasTtl ? startMs + leaseTtlSeconds * 1000 : undefined;
  return { lease: { key, subnets, attributes, expiresAtMs }, record: { key, ...stateOf(body.node) } };
}
