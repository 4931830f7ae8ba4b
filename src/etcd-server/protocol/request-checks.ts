/**
 * The checks of etcd's API layer, before any key is read (etcd, server/etcdserver/api/v3rpc/key.go),
 * in its order.
 */

import type {
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from "../../etcd-api/rpc_pb.ts";
import { isWithin, type Key, type KeyRange, keyOf, rangeOf } from "./keys.ts";
import {
  duplicateKey,
  emptyKey,
  keyNotFound,
  leaseProvided,
  tooManyOps,
  valueProvided,
} from "./rpc-error.ts";

/** etcd's --max-txn-ops. */
const MAX_TXN_OPS = 128;

export function checkKey({ key }: RangeRequest | DeleteRangeRequest): void {
  if (key.length === 0) throw emptyKey();
}

export function checkPut(request: PutRequest): void {
  if (request.key.length === 0) throw emptyKey();
  if (request.ignoreValue && request.value.length > 0) throw valueProvided();
  if (request.ignoreLease && request.lease !== 0n) throw leaseProvided();
}

export function checkTxn(request: TxnRequest): void {
  checkOps(request, MAX_TXN_OPS);
  checkDuplicates(request.success);
  checkDuplicates(request.failure);
}

function checkOps({ compare, success, failure }: TxnRequest, maxOps: number): void {
  const count = Math.max(compare.length, success.length, failure.length);
  if (count > maxOps) throw tooManyOps();
  for (const { key } of compare) if (key.length === 0) throw emptyKey();
  for (const { request } of [...success, ...failure]) {
    switch (request.case) {
      case "requestPut":
        checkPut(request.value);
        break;
      case "requestRange":
      case "requestDeleteRange":
        checkKey(request.value);
        break;
      case "requestTxn":
        checkOps(request.value, maxOps - count);
        break;
      case undefined:
        throw keyNotFound();
    }
  }
}

/** The writes of a list of operations. */
interface Writes {
  readonly puts: Set<Key>;
  readonly deletes: KeyRange[];
}

/** A key may be put once per revision and not also deleted in it; only one branch of a transaction runs. */
function checkDuplicates(operations: readonly RequestOp[]): Writes {
  const puts = new Set<Key>();
  const deletes = operations.flatMap(({ request }) =>
    request.case === "requestDeleteRange" ? [rangeOf(request.value.key, request.value.rangeEnd)] : [],
  );
  const add = (key: Key, isElsewhere = false) => {
    if (puts.has(key) && !isElsewhere) throw duplicateKey();
    if (deletes.some((range) => isWithin(key, range))) throw duplicateKey();
    puts.add(key);
  };
  for (const { request } of operations) {
    if (request.case !== "requestTxn") continue;
    const success = checkDuplicates(request.value.success);
    const failure = checkDuplicates(request.value.failure);
    for (const key of success.puts) add(key);
    for (const key of failure.puts) add(key, success.puts.has(key));
    deletes.push(...success.deletes, ...failure.deletes);
  }
  for (const { request } of operations) if (request.case === "requestPut") add(keyOf(request.value.key));
  return { puts, deletes };
}
