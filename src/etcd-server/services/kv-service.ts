/** The services KV and Auth as gRPC methods of the store. */

import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import {
  Auth,
  CompactionRequestSchema,
  CompactionResponseSchema,
  DeleteRangeRequestSchema,
  DeleteRangeResponseSchema,
  KV,
  PutRequestSchema,
  PutResponseSchema,
  RangeRequestSchema,
  TxnRequestSchema,
  TxnResponseSchema,
} from "../../etcd-api/rpc_pb.ts";
import { MAX_REQUEST_BYTES, pathOf, type UnaryMethod } from "../grpc/grpc-server.ts";
import { authNotEnabled, requestTooLarge } from "../protocol/rpc-error.ts";
import { encodeRangeResponse } from "../protocol/wire.ts";
import type { EmbeddedStore } from "../store/embedded-store.ts";
import { decode, type Encoding } from "./etcd-messages.ts";

/** Methods by path. */
export function kvMethods(store: EmbeddedStore, encoding: Encoding): [path: string, method: UnaryMethod][] {
  return [
    [
      pathOf(KV.method.range),
      async (bytes, reserve) => {
        const { revision, result } = await store.range(decode(RangeRequestSchema, bytes));
        reserve(result.records.reduce((sum, { encoded }) => sum + encoded.length, 0));
        const header = encoding.encodedHeader(revision);
        return encodeRangeResponse(header, result.records, result.more, result.count);
      },
    ],
    [
      pathOf(KV.method.put),
      async (bytes) => {
        const { revision, result } = await store.put(decodeWrite(PutRequestSchema, bytes));
        return encoding.response(PutResponseSchema, revision, result);
      },
    ],
    [
      pathOf(KV.method.deleteRange),
      async (bytes) => {
        const { revision, result } = await store.deleteRange(decodeWrite(DeleteRangeRequestSchema, bytes));
        return encoding.response(DeleteRangeResponseSchema, revision, result);
      },
    ],
    [
      pathOf(KV.method.txn),
      async (bytes) => {
        const { revision, result } = await store.txn(decodeWrite(TxnRequestSchema, bytes));
        return encoding.response(TxnResponseSchema, revision, result);
      },
    ],
    [
      pathOf(KV.method.compact),
      async (bytes) => {
        const request = decode(CompactionRequestSchema, bytes);
        const { revision } = await store.compact(Number(request.revision), request.physical);
        return encoding.response(CompactionResponseSchema, revision, {});
      },
    ],
    [
      pathOf(Auth.method.authenticate),
      async () => {
        throw authNotEnabled();
      },
    ],
  ];
}

/** Decodes a write request, up to etcd's limit for one request. */
function decodeWrite<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  if (bytes.length > MAX_REQUEST_BYTES) throw requestTooLarge();
  return decode(schema, bytes);
}
