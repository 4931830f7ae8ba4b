/**
 * Transactions as etcd runs them (apply.go, applyV3.Txn): all comparisons, also those of nested transactions, see the
 * state before the transaction; then all chosen operations are checked; then they run, and none can fail.
 */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  type DeleteRangeRequest,
  type DeleteRangeResponseSchema,
  type PutRequest,
  type PutResponseSchema,
  type RangeRequest,
  ResponseHeaderSchema,
  type ResponseOpSchema,
  type TxnRequest,
  type TxnResponseSchema,
} from "../../etcd-api/rpc_pb.ts";
import { keyOf, rangeOf } from "../protocol/keys.ts";
import {
  compacted,
  keyNotFound,
  leaseNotFound,
  responseTooLarge,
  unknownCompare,
} from "../protocol/rpc-error.ts";
import { type KeyRecord, NO_BYTES } from "../protocol/wire.ts";
import type { Leases } from "./key-leases.ts";
import type { Keyspace, RevisionWriter } from "./keyspace.ts";
import { runRange } from "./listing.ts";

/** Limit for the ranges of one transaction together. */
const MAX_RESPONSE_BYTES = 64 * 1024 * 1024;

export interface TxnPorts {
  readonly keyspace: Keyspace;
  readonly leases: Leases;
}

export type PutResult = MessageInitShape<typeof PutResponseSchema>;
export type DeleteRangeResult = MessageInitShape<typeof DeleteRangeResponseSchema>;
export type TxnResult = MessageInitShape<typeof TxnResponseSchema>;
type ResponseOp = MessageInitShape<typeof ResponseOpSchema>;

/** An operation of the chosen branch. */
type Step =
  | { readonly case: "requestRange"; readonly value: RangeRequest }
  | { readonly case: "requestPut"; readonly value: PutRequest }
  | { readonly case: "requestDeleteRange"; readonly value: DeleteRangeRequest }
  | { readonly case: "requestTxn"; readonly value: Plan };

interface Plan {
  readonly succeeded: boolean;
  readonly steps: readonly Step[];
}

/** Runs a transaction. Throws RpcError; then nothing has changed. */
export function runTxn(ports: TxnPorts, request: TxnRequest): TxnResult {
  const plan = choose(ports.keyspace, request);
  check(ports, plan);
  return ports.keyspace.change((writer) => execute(ports.keyspace, writer, plan));
}

/** Throws RpcError if the lease does not exist. */
export function checkPutLease({ leases }: TxnPorts, { lease }: PutRequest): void {
  if (lease !== 0n && !leases.has(lease)) throw leaseNotFound();
}

/** Throws RpcError if the request keeps the value or lease of a key that does not exist. */
export function checkPutKey({ keyspace }: TxnPorts, request: PutRequest): void {
  const isKept = request.ignoreValue || request.ignoreLease;
  if (isKept && keyspace.get(keyOf(request.key)) === undefined) throw keyNotFound();
}

export function runPut(keyspace: Keyspace, writer: RevisionWriter, request: PutRequest): PutResult {
  const key = keyOf(request.key);
  const current = keyspace.get(key);
  const value = request.ignoreValue ? (current?.value ?? NO_BYTES) : request.value;
  const lease = request.ignoreLease ? (current?.lease ?? 0n) : request.lease;
  const previous = writer.put(key, value, lease);
  return request.prevKv && previous !== undefined ? { prevKv: toKeyValue(previous) } : {};
}

export function runDelete(writer: RevisionWriter, request: DeleteRangeRequest): DeleteRangeResult {
  const records = writer.delete(rangeOf(request.key, request.rangeEnd));
  return { deleted: BigInt(records.length), prevKvs: request.prevKv ? records.map(toKeyValue) : [] };
}

function choose(keyspace: Keyspace, request: TxnRequest): Plan {
  const succeeded = request.compare.every((each) => holds(keyspace, each));
  const steps = (succeeded ? request.success : request.failure).map(({ request: chosen }): Step => {
    if (chosen.case === undefined) throw keyNotFound();
    return chosen.case === "requestTxn"
      ? { case: "requestTxn", value: choose(keyspace, chosen.value) }
      : chosen;
  });
  return { succeeded, steps };
}

/** All writes are checked before any read, in etcd's order, which shows if several are invalid. */
function check(ports: TxnPorts, plan: Plan): void {
  const steps = stepsOf(plan);
  for (const step of steps) {
    if (step.case !== "requestPut") continue;
    checkPutKey(ports, step.value);
    checkPutLease(ports, step.value);
  }
  for (const step of steps) {
    if (step.case !== "requestRange") continue;
    const revision = Number(step.value.revision);
    ports.keyspace.checkRevision(revision);
    // A negative revision means “now” to a range request, but not in a transaction (apply.go, checkRequestRange).
    if (revision < 0 && revision < ports.keyspace.compactedRevision) throw compacted();
  }
  checkResponseSize(ports.keyspace, steps);
}

/** Bounds the responses of many ranges together, before the transaction runs. Throws RpcError. */
function checkResponseSize(keyspace: Keyspace, steps: readonly Step[]): void {
  const ranges = steps.filter((step) => step.case === "requestRange");
  if (ranges.length < 2) return;
  let bytes = 0;
  for (const { value } of ranges) {
    for (const { encoded } of runRange(keyspace, value).records) bytes += encoded.length;
    if (bytes > MAX_RESPONSE_BYTES) throw responseTooLarge();
  }
}

/** The steps in order, those of nested transactions in their place. */
const stepsOf = ({ steps }: Plan): Step[] =>
  steps.flatMap((step) => (step.case === "requestTxn" ? stepsOf(step.value) : [step]));

function execute(keyspace: Keyspace, writer: RevisionWriter, { succeeded, steps }: Plan): TxnResult {
  const responses = steps.map((step): ResponseOp => ({ response: executeStep(keyspace, writer, step) }));
  return { succeeded, responses };
}

function executeStep(
  keyspace: Keyspace,
  writer: RevisionWriter,
  step: Step,
): NonNullable<ResponseOp["response"]> {
  // As etcd's: the revision that the operation makes or sees; none for a whole transaction.
  const header = () => create(ResponseHeaderSchema, { revision: BigInt(keyspace.revision) });
  switch (step.case) {
    case "requestRange": {
      const { records, more, count } = runRange(keyspace, step.value);
      const kvs = records.map(toKeyValue);
      return { case: "responseRange", value: { header: header(), kvs, more, count: BigInt(count) } };
    }
    case "requestPut": {
      const result = runPut(keyspace, writer, step.value);
      return { case: "responsePut", value: { ...result, header: header() } };
    }
    case "requestDeleteRange": {
      const result = runDelete(writer, step.value);
      return { case: "responseDeleteRange", value: { ...result, header: header() } };
    }
    case "requestTxn":
      return {
        case: "responseTxn",
        value: { ...execute(keyspace, writer, step.value), header: create(ResponseHeaderSchema) },
      };
  }
}

/** Whether the comparison holds for every key of its range; an empty range compares as a key with all fields zero. */
function holds(keyspace: Keyspace, compare: Compare): boolean {
  const { records } = keyspace.list(rangeOf(compare.key, compare.rangeEnd));
  if (records.length > 0) return records.every((record) => holdsFor(compare, record));
  // A missing value is not an empty value.
  return compare.target !== Compare_CompareTarget.VALUE && holdsFor(compare, ABSENT);
}

type Comparable = Pick<KeyRecord, "version" | "createRevision" | "modRevision" | "value" | "lease">;

const ABSENT: Comparable = { version: 0, createRevision: 0, modRevision: 0, value: NO_BYTES, lease: 0n };

function holdsFor(compare: Compare, record: Comparable): boolean {
  const order = orderOf(compare, record);
  switch (compare.result) {
    case Compare_CompareResult.EQUAL:
      return order === 0;
    case Compare_CompareResult.NOT_EQUAL:
      return order !== 0;
    case Compare_CompareResult.GREATER:
      return order > 0;
    case Compare_CompareResult.LESS:
      return order < 0;
    default:
      throw unknownCompare();
  }
}

/** Negative, 0 or positive: the order of the record and the requested value, which is zero if it is of another type. */
function orderOf({ target, targetUnion: wanted }: Compare, record: Comparable): number {
  const against = (actual: bigint | number, name: typeof wanted.case): number => {
    const other = wanted.case === name ? (wanted.value as bigint) : 0n;
    return actual < other ? -1 : actual > other ? 1 : 0;
  };
  switch (target) {
    case Compare_CompareTarget.VERSION:
      return against(record.version, "version");
    case Compare_CompareTarget.CREATE:
      return against(record.createRevision, "createRevision");
    case Compare_CompareTarget.MOD:
      return against(record.modRevision, "modRevision");
    case Compare_CompareTarget.LEASE:
      return against(record.lease, "lease");
    case Compare_CompareTarget.VALUE:
      return Buffer.compare(record.value, wanted.case === "value" ? wanted.value : NO_BYTES);
    default:
      throw unknownCompare();
  }
}

/** A record as a generated message. */
export const toKeyValue = (record: KeyRecord) => ({
  key: Buffer.from(record.key, "latin1"),
  createRevision: BigInt(record.createRevision),
  modRevision: BigInt(record.modRevision),
  version: BigInt(record.version),
  value: record.value as Uint8Array<ArrayBuffer>,
  lease: record.lease,
});
