/** Messages between the store and its clients: requests decoded, responses with etcd's header encoded. */

import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  type ResponseHeader,
  ResponseHeaderSchema,
  type WatchResponse,
  WatchResponseSchema,
} from "../../etcd-api/rpc_pb.ts";
import { RpcError } from "../protocol/rpc-error.ts";
import { encodeWatchEvents } from "../protocol/wire.ts";
import type { News } from "../store/watches.ts";

/** The only member was elected once. */
export const RAFT_TERM = 1n;

/** Decodes a request. Throws RpcError if it is malformed. */
export function decode<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(schema, bytes);
  } catch (cause) {
    throw new RpcError("INTERNAL", `grpc: error unmarshalling request: no ${schema.name}`, { cause });
  }
}

/** Encodes responses with the header of this server. */
export class Encoding {
  readonly #clusterId: bigint;
  readonly #memberId: bigint;
  #lastHeader: { readonly revision: number; readonly encoded: Uint8Array } | undefined;
  #lastNews: { readonly news: News; readonly watchId: bigint; readonly encoded: Uint8Array } | undefined;

  constructor(ids: { readonly clusterId: bigint; readonly memberId: bigint }) {
    this.#clusterId = ids.clusterId;
    this.#memberId = ids.memberId;
  }

  header(revision: number): Omit<ResponseHeader, "$typeName"> {
    return {
      clusterId: this.#clusterId,
      memberId: this.#memberId,
      revision: BigInt(revision),
      raftTerm: RAFT_TERM,
    };
  }

  /** A header as bytes; encoded once per revision. */
  encodedHeader(revision: number): Uint8Array {
    if (this.#lastHeader?.revision !== revision) {
      const header = create(ResponseHeaderSchema, this.header(revision));
      this.#lastHeader = { revision, encoded: toBinary(ResponseHeaderSchema, header) };
    }
    return this.#lastHeader.encoded;
  }

  /** A response with its header as of `revision`. */
  response<D extends DescMessage>(schema: D, revision: number, fields: MessageInitShape<D>): Uint8Array {
    return toBinary(
      schema,
      create(schema, { ...fields, header: this.header(revision) } as MessageInitShape<D>),
    );
  }

  watchResponse(revision: number, fields: Partial<Omit<WatchResponse, "$typeName" | "header">>): Uint8Array {
    return this.response(
      WatchResponseSchema,
      revision,
      fields as MessageInitShape<typeof WatchResponseSchema>,
    );
  }

  /** Events for a watch. Watches that receive the same events one after the other share the bytes. */
  news(watchId: bigint, news: News): Uint8Array {
    if (this.#lastNews?.news !== news || this.#lastNews.watchId !== watchId) {
      const encoded = encodeWatchEvents(this.encodedHeader(news.revision), watchId, news.events);
      this.#lastNews = { news, watchId, encoded };
    }
    return this.#lastNews.encoded;
  }
}
