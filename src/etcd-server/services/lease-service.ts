/** The service Lease as gRPC methods of the store. */

import {
  Lease,
  LeaseGrantRequestSchema,
  LeaseGrantResponseSchema,
  LeaseKeepAliveRequestSchema,
  LeaseKeepAliveResponseSchema,
  LeaseLeasesResponseSchema,
  LeaseRevokeRequestSchema,
  LeaseRevokeResponseSchema,
  LeaseTimeToLiveRequestSchema,
  LeaseTimeToLiveResponseSchema,
} from "../../etcd-api/rpc_pb.ts";
import { pathOf, type StreamMethod, type UnaryMethod } from "../grpc/grpc-server.ts";
import { bytesOf } from "../protocol/keys.ts";
import { RpcError } from "../protocol/rpc-error.ts";
import type { EmbeddedStore } from "../store/embedded-store.ts";
import { decode, type Encoding } from "./etcd-messages.ts";

/** Methods by path. */
export function leaseMethods(
  store: EmbeddedStore,
  encoding: Encoding,
): [path: string, method: UnaryMethod][] {
  return [
    [
      pathOf(Lease.method.leaseGrant),
      async (bytes) => {
        const request = decode(LeaseGrantRequestSchema, bytes);
        const { revision, result } = await store.grantLease(request.ID, request.TTL);
        const fields = { ID: result.id, TTL: BigInt(result.ttlSeconds) };
        return encoding.response(LeaseGrantResponseSchema, revision, fields);
      },
    ],
    [
      pathOf(Lease.method.leaseRevoke),
      async (bytes) => {
        const { revision } = await store.revokeLease(decode(LeaseRevokeRequestSchema, bytes).ID);
        return encoding.response(LeaseRevokeResponseSchema, revision, {});
      },
    ],
    [
      pathOf(Lease.method.leaseTimeToLive),
      async (bytes) => {
        const request = decode(LeaseTimeToLiveRequestSchema, bytes);
        const { revision, result } = await store.leaseTimeToLive(request.ID);
        // A missing lease is answered with a TTL of -1, not with an error.
        const fields =
          result === undefined
            ? { ID: request.ID, TTL: -1n }
            : {
                ID: request.ID,
                TTL: BigInt(Math.floor(result.remainingMs / 1000)),
                grantedTTL: BigInt(result.ttlSeconds),
                keys: request.keys ? result.keys.map(bytesOf) : [],
              };
        return encoding.response(LeaseTimeToLiveResponseSchema, revision, fields);
      },
    ],
    [
      pathOf(Lease.method.leaseLeases),
      async () => {
        const { revision, result } = await store.leaseIds();
        const leases = result.map((ID) => ({ ID }));
        return encoding.response(LeaseLeasesResponseSchema, revision, { leases });
      },
    ],
  ];
}

/** Answers that a client may leave unread. */
const MAX_BUFFERED_BYTES = 256 * 1024;

export const KEEP_ALIVE_PATH = pathOf(Lease.method.leaseKeepAlive);

/** Each request on the stream renews one lease; a TTL of 0 means that the lease does not exist. */
export const keepAliveMethod = (store: EmbeddedStore, encoding: Encoding): StreamMethod => ({
  open(stream) {
    let waiting = 0;
    let hasEnded = false;
    const answer = async (bytes: Uint8Array) => {
      const { ID } = decode(LeaseKeepAliveRequestSchema, bytes);
      const { revision, result } = await store.keepLeaseAlive(ID);
      const TTL = BigInt(result?.ttlSeconds ?? 0);
      stream.send(encoding.response(LeaseKeepAliveResponseSchema, revision, { ID, TTL }));
    };
    return {
      message(bytes) {
        if (stream.bufferedBytes > MAX_BUFFERED_BYTES) {
          throw new RpcError("RESOURCE_EXHAUSTED", "etcdserver: responses are not read");
        }
        waiting++;
        answer(bytes).then(
          () => {
            if (--waiting === 0 && hasEnded) stream.end();
          },
          (error) => stream.end(error),
        );
      },
      end() {
        hasEnded = true;
        if (waiting === 0) stream.end();
      },
      closed() {},
      drained() {},
    };
  },
});
