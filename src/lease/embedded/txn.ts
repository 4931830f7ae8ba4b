/**
 * Transactions as etcd runs them (apply.go, applyV3.Txn): all comparisons, also those of nested transactions, look at the
 * state before; then what was chosen is checked whole; then it runs, and nothing can fail any more.
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  type DeleteRangeRequest,
  type DeleteRangeResponseSchema,
  type PutRequest,
  type PutResponseSchema,
  type RangeRequest,
  type ResponseOpSchema,
  type TxnRequest,
  type TxnResponseSchema,
} from "../etcd/rpc_pb.ts";
import { keyOf, rangeOf } from "./keys.ts";
import type { Keyspace, RevisionWriter } from "./keyspace.ts";
import type { Leases } from "./leases.ts";
import { runRange } from "./listing.ts";
import { keyNotFound, leaseNotFound, unknownCompare } from "./rpc-error.ts";
import { type KeyRecord, NO_BYTES } from "./wire.ts";

export interface TxnPorts {
  readonly keyspace: Keyspace;
  readonly leases: Leases;
}

export type PutResult = MessageInitShape<typeof PutResponseSchema>;
export type DeleteRangeResult = MessageInitShape<typeof DeleteRangeResponseSchema>;
export type TxnResult = MessageInitShape<typeof TxnResponseSchema>;
type ResponseOp = MessageInitShape<typeof ResponseOpSchema>;

/** An operation that was chosen to run. */
type Step =
  | { readonly case: "requestRange"; readonly value: RangeRequest }
  | { readonly case: "requestPut"; readonly value: PutRequest }
  | { readonly case: "requestDeleteRange"; readonly value: DeleteRangeRequest }
  | { readonly case: "requestTxn"; readonly value: Plan };

interface Plan {
  readonly succeeded: boolean;
  readonly steps: readonly Step[];
}

/** Throws RpcError; then nothing has been changed. */
export function runTxn(ports: TxnPorts, request: TxnRequest): TxnResult {
  const plan = choose(ports.keyspace, request);
  check(ports, plan);
  return ports.keyspace.change((writer) => execute(ports.keyspace, writer, plan));
}

/** Throws RpcError: no such lease, or no key whose value or lease could be kept. */
export function checkPutTarget({ keyspace, leases }: TxnPorts, request: PutRequest): void {
  if ((request.ignoreValue || request.ignoreLease) && keyspace.get(keyOf(request.key)) === undefined) {
    throw keyNotFound();
  }
  if (request.lease !== 0n && !leases.has(request.lease)) throw leaseNotFound();
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

function check(ports: TxnPorts, { steps }: Plan): void {
  for (const step of steps) {
    if (step.case === "requestPut") checkPutTarget(ports, step.value);
    if (step.case === "requestRange") ports.keyspace.checkRevision(Number(step.value.revision));
    if (step.case === "requestTxn") check(ports, step.value);
  }
}

function execute(keyspace: Keyspace, writer: RevisionWriter, { succeeded, steps }: Plan): TxnResult {
  const responses = steps.map((step): ResponseOp => {
    const result = executeStep(keyspace, writer, step);
    // A put answers with the revision it makes, the others with the one that there is by then.
    const value = result.value as { header?: { revision: bigint } };
    if (step.case !== "requestTxn") value.header = { revision: BigInt(keyspace.revision) };
    return { response: result };
  });
  return { succeeded, responses };
}

function executeStep(
  keyspace: Keyspace,
  writer: RevisionWriter,
  step: Step,
): NonNullable<ResponseOp["response"]> {
  switch (step.case) {
    case "requestRange": {
      const { records, more, count } = runRange(keyspace, step.value);
      return {
        case: "responseRange",
        value: { kvs: records.map(toKeyValue), more, count: BigInt(count) },
      };
    }
    case "requestPut":
      return { case: "responsePut", value: runPut(keyspace, writer, step.value) };
    case "requestDeleteRange":
      return { case: "responseDeleteRange", value: runDelete(writer, step.value) };
    case "requestTxn":
      return { case: "responseTxn", value: execute(keyspace, writer, step.value) };
  }
}

/** Whether the comparison holds for every key of its range; for none: for a key that is all zero. */
function holds(keyspace: Keyspace, compare: Compare): boolean {
  const { records } = keyspace.list(rangeOf(compare.key, compare.rangeEnd));
  if (records.length > 0) return records.every((record) => holdsFor(compare, record));
  // A value that is not there is no empty value.
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

/** Negative, 0 or positive: how the record stands to what is asked for, which is zero if it is of another kind. */
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

/** A record as a message of the generated kind. */
export const toKeyValue = (record: KeyRecord) => ({
  key: Buffer.from(record.key, "latin1"),
  createRevision: BigInt(record.createRevision),
  modRevision: BigInt(record.modRevision),
  version: BigInt(record.version),
  value: record.value as Uint8Array<ArrayBuffer>,
  lease: record.lease,
});
