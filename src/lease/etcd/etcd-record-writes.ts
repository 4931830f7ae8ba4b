/**
 * Writes on records, each a compare-and-swap.
 *
 * A record hangs on an etcd lease, or on none: then it is a reservation and stays one. Restarts go on with the etcd
 * lease that the key has, so they leave none behind and, if nothing changed, cause no event at the other hosts. Where a
 * new one is needed, the put takes the key off the old one, which then ends without deleting the key.
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { isNotFound } from "../../base/error.ts";
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  type CompareSchema,
  type RequestOpSchema,
  type TxnResponse,
} from "../../etcd-api/rpc_pb.ts";
import { type LeaseAttributes, type OwnLease, overlapsPair, type SubnetPair } from "../lease.ts";
import { decodeLeaseKey, encodeLeaseKey, encodeLeaseValue, isProblem } from "../lease-codec.ts";
import { toBytes } from "./etcd-range.ts";
import { nameOf, pathOf, type RecordState, type RecordStore } from "./etcd-records.ts";

/** An etcd lease. */
export interface Grant {
  /** 0 = none. */
  readonly id: bigint;
  /** Wall-clock ms since the epoch; undefined = never. */
  readonly expiresAtMs: number | undefined;
}

/** An own lease just taken or extended, and its record. */
export interface Held {
  readonly lease: OwnLease;
  readonly record: RecordState;
}

/** For what never expires. */
export const NO_GRANT: Grant = { id: 0n, expiresAtMs: undefined };

/** A new etcd lease. Throws StoreError, as all of these. */
export async function grantLease(store: RecordStore): Promise<Grant> {
  const startMs = store.wallClockMs();
  const request = { TTL: BigInt(store.connection.settings.timings.leaseTtlSeconds) };
  const granted = await store.connection.call(({ lease }, options) => lease.leaseGrant(request, options));
  return { id: granted.ID, expiresAtMs: startMs + Number(granted.TTL) * 1000 };
}

/** Ends an etcd lease on which no key hangs. */
export async function revokeLease(store: RecordStore, { id }: Grant): Promise<void> {
  await store.connection.call(({ lease }, options) => lease.leaseRevoke({ ID: id }, options));
}

/**
 * Makes a new record. Undefined = the key is there already, or a lease made after `listedAtRevision` and before this
 * one overlaps it (other prefix lengths, or one family of a pair: the key alone does not tell).
 */
export async function createRecord(
  store: RecordStore,
  subnets: SubnetPair,
  attributes: LeaseAttributes,
  grant: Grant,
  listedAtRevision: bigint,
): Promise<Held | undefined> {
  const key = encodeLeaseKey(subnets);
  const value = encodeLeaseValue(attributes);
  const listNewer: RequestOp = {
    request: {
      case: "requestRange",
      value: {
        key: store.range.key,
        rangeEnd: store.range.end,
        keysOnly: true,
        minCreateRevision: listedAtRevision + 1n,
      },
    },
  };
  const result = await transact(store, isAbsent(store, key), [put(store, key, value, grant), listNewer]);
  if (!result.succeeded) return undefined;
  const record = { key, value, modRevision: revisionOf(result), leaseId: grant.id };
  const answer = result.responses[1]?.response;
  const newer = answer?.case === "responseRange" ? answer.value.kvs : [];
  const isOverlapped = newer
    .map((kv) => nameOf(store, kv))
    .filter((name) => name !== key)
    .map(decodeLeaseKey)
    .some((pair) => !isProblem(pair) && overlapsPair(pair, subnets));
  if (isOverlapped) {
    await removeRecord(store, record);
    return undefined;
  }
  return { lease: { key, subnets, attributes, expiresAtMs: grant.expiresAtMs }, record };
}

/** What a write compares. */
type RecordVersion = Pick<RecordState, "key" | "modRevision">;

/** Deletes a record; false = it is not as it was read any more. */
export async function removeRecord(store: RecordStore, record: RecordVersion): Promise<boolean> {
  const remove: RequestOp = {
    request: { case: "requestDeleteRange", value: { key: pathOf(store, record.key) } },
  };
  return (await transact(store, isUnchanged(store, record), [remove])).succeeded;
}

/** Takes a record off its etcd lease, its value as it is; false = it is not as it was read any more. */
export async function keepRecordForever(store: RecordStore, record: RecordVersion): Promise<boolean> {
  const write: RequestOp = {
    request: { case: "requestPut", value: { key: pathOf(store, record.key), ignoreValue: true } },
  };
  return (await transact(store, isUnchanged(store, record), [write])).succeeded;
}

/**
 * Extends a record's life and publishes the attributes. Undefined = it is not as it was read any more, or its etcd
 * lease has ended.
 */
export async function extendRecord(
  store: RecordStore,
  record: RecordState,
  subnets: SubnetPair,
  attributes: LeaseAttributes,
): Promise<Held | undefined> {
  const { key } = record;
  const value = encodeLeaseValue(attributes);
  try {
    const grant = await prolong(store, record.leaseId);
    if (grant === undefined) return undefined;
    const isSame = value === record.value && grant.id === record.leaseId;
    const writes = isSame ? [] : [put(store, key, value, grant)];
    const result = await transact(store, isUnchanged(store, record), writes);
    if (!result.succeeded) return undefined;
    const modRevision = isSame ? record.modRevision : revisionOf(result);
    return {
      lease: { key, subnets, attributes, expiresAtMs: grant.expiresAtMs },
      record: { key, value, modRevision, leaseId: grant.id },
    };
  } catch (error) {
    if (isNotFound(error)) return undefined; // the etcd lease ended between the two requests
    throw error;
  }
}

/** Keeps an etcd lease alive, or replaces it if it was made for a shorter life. Undefined = it has ended. */
async function prolong(store: RecordStore, id: bigint): Promise<Grant | undefined> {
  if (id === 0n) return NO_GRANT;
  const startMs = store.wallClockMs();
  const ttlSeconds = await store.connection.call(async ({ lease }, options) => {
    let answered = 0;
    for await (const answer of lease.leaseKeepAlive(once({ ID: id }), options)) answered = Number(answer.TTL);
    return answered;
  });
  if (ttlSeconds <= 0) return undefined;
  if (ttlSeconds < store.connection.settings.timings.leaseTtlSeconds) return grantLease(store);
  return { id, expiresAtMs: startMs + ttlSeconds * 1000 };
}

type RequestOp = MessageInitShape<typeof RequestOpSchema>;
type Comparison = MessageInitShape<typeof CompareSchema>;

/** Writes if the condition holds. Throws StoreError. */
export const transact = (
  store: Pick<RecordStore, "connection">,
  condition: Comparison,
  success: RequestOp[],
): Promise<TxnResponse> =>
  store.connection.call(({ kv }, options) => kv.txn({ compare: [condition], success }, options));

const revisionOf = (response: TxnResponse): bigint => response.header?.revision ?? 0n;

const put = (store: RecordStore, key: string, value: string, grant: Grant): RequestOp => ({
  request: { case: "requestPut", value: { key: pathOf(store, key), value: toBytes(value), lease: grant.id } },
});

const isAbsent = (store: RecordStore, key: string): Comparison => ({
  key: pathOf(store, key),
  target: Compare_CompareTarget.VERSION,
  result: Compare_CompareResult.EQUAL,
  targetUnion: { case: "version", value: 0n },
});

const isUnchanged = (store: RecordStore, record: RecordVersion): Comparison => ({
  key: pathOf(store, record.key),
  target: Compare_CompareTarget.MOD,
  result: Compare_CompareResult.EQUAL,
  targetUnion: { case: "modRevision", value: record.modRevision },
});

async function* once<T>(message: T): AsyncGenerator<T, void> {
  yield message;
}
