/** The keys under `subnets/` as leases, laid out as Go flannel does: what each contains, and the creation of a new one. */

import type { StoredLease } from "../acquire.ts";
import { type LeaseAttributes, overlapsPair, type SubnetPair } from "../lease.ts";
import {
  decodeLeaseKey,
  decodeLeaseValue,
  encodeLeaseKey,
  encodeLeaseValue,
  isProblem,
} from "../lease-codec.ts";
import type { LeaseEntry } from "../lease-view.ts";
import type { CreatedKey, KeyLife, KeyRecord, KeyValueStore } from "./key-value-store.ts";

/** The key of the network config. */
export const configKeyOf = ({ prefix }: Pick<KeyValueStore<unknown>, "prefix">): string => `${prefix}/config`;

/** What the keys of leases begin with. */
export const leasePathOf = ({ prefix }: Pick<KeyValueStore<unknown>, "prefix">): string =>
  `${prefix}/subnets/`;

/** A key under `subnets/`, decoded. */
export interface DecodedRecord {
  /** The part after `subnets/`. */
  readonly key: string;
  readonly record: KeyRecord;
  /** Undefined = the key names no subnet. */
  readonly subnets: SubnetPair | undefined;
  /** Undefined = key or value are malformed. */
  readonly attributes: LeaseAttributes | undefined;
  /** What is wrong with key or value, as the end of a sentence. */
  readonly problem: string | undefined;
  /** See {@link Lease.renewedAt}. */
  readonly renewedAt: bigint | undefined;
}

/** A key that names a subnet. If its value is malformed, the subnet is taken nevertheless. */
export type SubnetRecord = DecodedRecord & StoredLease;

/** Whether the key names a subnet, whatever its value: the subnet counts as taken. */
export const namesSubnet = (decoded: DecodedRecord): decoded is SubnetRecord => decoded.subnets !== undefined;

/** Decodes a record whose key begins with `leasePath`. */
export function decodeRecord(leasePath: string, record: KeyRecord): DecodedRecord {
  const key = record.key.slice(leasePath.length);
  const subnets = decodeLeaseKey(key);
  const renewedAt = record.lifeId === undefined ? undefined : record.revision;
  const base = { key, record, renewedAt };
  if (isProblem(subnets)) return { ...base, subnets: undefined, attributes: undefined, ...subnets };
  const attributes = decodeLeaseValue(record.value);
  return isProblem(attributes)
    ? { ...base, subnets, attributes: undefined, ...attributes }
    : { ...base, subnets, attributes, problem: undefined };
}

/** What peers see of a key. */
export function leaseEntryOf({
  key,
  record,
  subnets,
  attributes,
  problem,
  renewedAt,
}: DecodedRecord): LeaseEntry {
  if (subnets === undefined || attributes === undefined) return [key, { problem: problem! }];
  return [key, { key, subnets, attributes, establishedAt: record.createdAt, renewedAt }];
}

/**
 * Whether an older lease in the listing overlaps this one: then this one gives way. The key alone does not show it where
 * prefix lengths differ, or one family of a pair is the same. A reservation never gives way.
 */
export const isOutranked = (
  { key, record, subnets }: SubnetRecord,
  listed: readonly SubnetRecord[],
): boolean =>
  record.lifeId !== undefined &&
  listed.some(
    (other) =>
      other.key !== key && other.record.createdAt < record.createdAt && overlapsPair(other.subnets, subnets),
  );

/** Creates a lease; undefined = the key exists, or a lease created since the position `since` overlaps it. */
export async function createLease<Position>(
  store: KeyValueStore<Position>,
  subnets: SubnetPair,
  attributes: LeaseAttributes,
  life: KeyLife,
  since: Position | undefined,
): Promise<CreatedKey<Position> | undefined> {
  const path = leasePathOf(store);
  const key = path + encodeLeaseKey(subnets);
  const created = await store.create(key, encodeLeaseValue(attributes), life, since);
  const isOverlapped = created?.rivals
    .map((rival) => decodeLeaseKey(rival.slice(path.length)))
    .some((rival) => !isProblem(rival) && overlapsPair(rival, subnets));
  if (created === undefined || !isOverlapped) return created;
  await store.remove(created.record);
  return undefined;
}
