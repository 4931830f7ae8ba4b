/**
 * Errors with etcd's texts: clients distinguish errors by gRPC status and text (etcd, api/v3rpc/rpctypes/error.go).
 * Status numbers: https://grpc.io/docs/guides/status-codes/
 */

import { FlannelError } from "../../base/error.ts";

/** gRPC status codes that this server answers with. */
export const STATUS = {
  OK: 0,
  INVALID_ARGUMENT: 3,
  NOT_FOUND: 5,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type StatusName = keyof typeof STATUS;

/** An error that a request is answered with. */
export class RpcError extends FlannelError {
  declare readonly code: StatusName;
  constructor(code: StatusName, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

const refusal = (code: StatusName, message: string) => (): RpcError => new RpcError(code, message);

export const emptyKey = refusal("INVALID_ARGUMENT", "etcdserver: key is not provided");
export const keyNotFound = refusal("INVALID_ARGUMENT", "etcdserver: key not found");
export const valueProvided = refusal("INVALID_ARGUMENT", "etcdserver: value is provided");
export const leaseProvided = refusal("INVALID_ARGUMENT", "etcdserver: lease is provided");
export const tooManyOps = refusal("INVALID_ARGUMENT", "etcdserver: too many operations in txn request");
export const duplicateKey = refusal("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request");
export const unknownCompare = refusal("INVALID_ARGUMENT", "etcdserver: unknown comparison in txn request");
export const compacted = refusal("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted");
export const futureRevision = refusal(
  "OUT_OF_RANGE",
  "etcdserver: mvcc: required revision is a future revision",
);
export const requestTooLarge = refusal("INVALID_ARGUMENT", "etcdserver: request is too large");
export const responseTooLarge = refusal("RESOURCE_EXHAUSTED", "etcdserver: response is too large");
export const leaseNotFound = refusal("NOT_FOUND", "etcdserver: requested lease not found");
export const leaseExists = refusal("FAILED_PRECONDITION", "etcdserver: lease already exists");
export const leaseTtlTooLarge = refusal("OUT_OF_RANGE", "etcdserver: too large lease TTL");
export const authNotEnabled = refusal("FAILED_PRECONDITION", "etcdserver: authentication is not enabled");
export const noSpace = refusal("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded");
export const corrupt = refusal("DATA_LOSS", "etcdserver: corrupt cluster");
export const stopped = refusal("UNAVAILABLE", "etcdserver: server stopped");
