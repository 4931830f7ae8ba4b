/**
 * A gRPC server on node:http2 with the parts of the protocol that etcd's clients use (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 *
 * Requests for other methods are answered UNIMPLEMENTED. Input is not trusted: sizes are limited, malformed messages are
 * refused, and a failing stream does not affect others.
 */

import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { DescMethod } from "@bufbuild/protobuf";
import { messageOf } from "../../base/error.ts";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { RpcError, STATUS } from "../protocol/rpc-error.ts";
import type { FairQueue } from "./fair-queue.ts";
import { FrameReader, frame, prefixOf } from "./grpc-frames.ts";
import { end as endOutput, isOpen, respond, write } from "./stream-output.ts";
import { type ConnectionTraffic, StreamTraffic, type TrafficStream } from "./traffic.ts";

/**
 * Answers one request with one response, both encoded. `reserve` is to be called before a response that can be large is
 * encoded, with its length in bytes; it throws if that is too much. Throws RpcError.
 */
export type UnaryMethod = (message: Uint8Array, reserve: (bytes: number) => void) => Promise<Uint8Array>;

/** A method with a stream of requests and of responses. */
export interface StreamMethod {
  /** Opens a stream; its handlers are called from then on. */
  open(stream: ResponseStream): StreamHandlers;
}

/** What a {@link StreamMethod} does on the events of a stream. */
export interface StreamHandlers {
  /** Throws RpcError: ends the stream with it. */
  message(message: Uint8Array): void;
  /** The client has sent its last request. */
  end(): void;
  /** Whether the stream is closed, for any reason. */
  closed(): void;
  /** Buffered messages have been sent. */
  drained(): void;
}

/** The response half of a stream. Nothing is sent after its end. */
export interface ResponseStream {
  /** Bytes that wait for the client to read them; infinite while the connection or the server holds too many. */
  readonly bufferedBytes: number;
  send(message: Uint8Array): void;
  /** Ends the stream with status OK or with an error. */
  end(error?: unknown): void;
}

/** "/etcdserverpb.KV/Range". */
export const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

/** The methods of a server, by path. */
export interface Methods {
  readonly unary: ReadonlyMap<string, UnaryMethod>;
  readonly streams: ReadonlyMap<string, StreamMethod>;
}

/** etcd's --max-request-bytes; etcd allows another 512 KiB for the gRPC message around it. */
export const MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;
const MAX_MESSAGE_BYTES = MAX_REQUEST_BYTES + 512 * 1024;

const LARGE_BYTES = 16 * 1024;
const CONTENT_TYPE = "application/grpc";

/** What the streams of a connection share. */
export interface ServedConnection {
  readonly methods: Methods;
  readonly traffic: ConnectionTraffic;
  /** Of all connections. */
  readonly queue: FairQueue;
  readonly logger: Logger;
}

/** Serves one request. The caller handles the stream's "error" events. Throws RpcError: too many streams. */
export function serveStream(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  connection: ServedConnection,
): void {
  if (headers[":method"] !== "POST" || !headers["content-type"]?.startsWith(CONTENT_TYPE)) {
    respond(stream, { ":status": headers[":method"] === "POST" ? 415 : 405 });
    stream.resume();
    return;
  }
  const { methods, logger } = connection;
  const path = headers[":path"] ?? "";
  const unary = methods.unary.get(path);
  const streaming = methods.streams.get(path);
  if (unary !== undefined) serveUnary(stream, unary, connection);
  else if (streaming !== undefined) serveStreaming(stream, streaming, connection);
  else refuse(stream, new RpcError("UNIMPLEMENTED", `the embedded store does not implement ${path}`), logger);
}

/** The account of a stream, open until the stream is closed. */
function openAccount(
  stream: ServerHttp2Stream,
  traffic: ConnectionTraffic,
  actions: TrafficStream,
): StreamTraffic {
  const account = new StreamTraffic(traffic, actions, performance.now());
  stream.on("close", () => account.close());
  return account;
}

function serveUnary(stream: ServerHttp2Stream, method: UnaryMethod, connection: ServedConnection): void {
  const { traffic, queue, logger } = connection;
  const expire = () => {
    if (stream.headersSent)
      stream.close(); // answered, but the client does not end its request
    else fail(new RpcError("RESOURCE_EXHAUSTED", "etcdserver: the request takes too long"));
  };
  const account = openAccount(stream, traffic, { expire, resume: () => {} });
  const reader = new FrameReader(MAX_MESSAGE_BYTES, (bytes) => account.receive(bytes));
  let request: Uint8Array | undefined;
  const fail = (error: unknown) => {
    request = undefined;
    reader.discard();
    account.releaseReceived();
    refuse(stream, error, logger);
  };
  stream.on("data", (piece: Buffer) => {
    try {
      for (const message of reader.push(piece)) {
        if (request !== undefined) throw new RpcError("INTERNAL", "grpc: more than one request message");
        if (reader.isOwnMemory(message)) request = message;
        else {
          account.receive(message.length);
          request = Buffer.from(message);
        }
      }
    } catch (error) {
      fail(error);
    }
  });
  stream.on("end", () => {
    if (stream.headersSent || !isOpen(stream)) return;
    account.complete();
    if (request === undefined || reader.isWithinMessage) {
      fail(new RpcError("INTERNAL", "grpc: the request message is truncated"));
      return;
    }
    const message = request;
    queue.run(traffic, () => {
      if (!isOpen(stream)) return;
      answer(message).catch(fail);
    });
  });
  const answer = async (message: Uint8Array) => {
    account.admit();
    const response = await method(message, (bytes) => account.reserve(bytes));
    request = undefined;
    account.releaseReceived();
    respond(stream, RESPONSE_HEADERS, () => ({ "grpc-status": "0" }));
    writeMessage(stream, response, account);
    endOutput(stream);
  };
}

function serveStreaming(
  stream: ServerHttp2Stream,
  method: StreamMethod,
  { traffic, logger }: ServedConnection,
): void {
  let trailers: Record<string, string> | undefined;
  const end = (error?: unknown) => {
    if (trailers !== undefined || !isOpen(stream)) return;
    trailers = error === undefined ? { "grpc-status": "0" } : statusOf(error, logger);
    endOutput(stream);
  };
  /** A handler that throws ends its stream, nothing else. */
  const guard = (run: () => void) => {
    try {
      run();
    } catch (error) {
      end(error);
    }
  };
  const account = openAccount(stream, traffic, {
    expire: () => {},
    resume: () => guard(() => handlers.drained()),
  });
  account.complete();
  const reader = new FrameReader(MAX_MESSAGE_BYTES, (bytes) => account.receive(bytes));
  if (!respond(stream, RESPONSE_HEADERS, () => trailers ?? { "grpc-status": "0" })) return;
  const handlers = method.open({
    get bufferedBytes() {
      return account.isCongested ? Number.POSITIVE_INFINITY : stream.writableLength;
    },
    send(message) {
      if (trailers === undefined) writeMessage(stream, message, account);
    },
    end,
  });
  stream.on("data", (piece: Buffer) => {
    if (trailers !== undefined) return;
    guard(() => {
      for (const message of reader.push(piece)) handlers.message(message);
      if (!reader.isWithinMessage) account.releaseReceived();
    });
  });
  stream.on("end", () => guard(() => handlers.end()));
  stream.on("drain", () => guard(() => handlers.drained()));
  stream.on("close", () => guard(() => handlers.closed()));
}

const RESPONSE_HEADERS = { ":status": 200, "content-type": CONTENT_TYPE };

/** A large message is not copied: many streams may share it. */
function writeMessage(stream: ServerHttp2Stream, message: Uint8Array, account: StreamTraffic): void {
  const isLarge = message.length >= LARGE_BYTES;
  const pieces = isLarge ? [prefixOf(message), message] : [frame(message)];
  if (write(stream, pieces, () => account.sent(message.length))) account.queue(message.length);
}

/** Answers with an error status only, and ignores the rest of the request. */
export function refuse(stream: ServerHttp2Stream, error: unknown, logger: Logger = silentLogger): void {
  if (!isOpen(stream) || stream.headersSent) return;
  respond(stream, { ...RESPONSE_HEADERS, ...statusOf(error, logger) });
  // Resetting the stream could overtake the answer; further data is discarded.
  stream.removeAllListeners("data").resume();
}

/** The trailers of a failed request. */
function statusOf(error: unknown, logger: Logger): Record<string, string> {
  const known = error instanceof RpcError ? error : undefined;
  if (known === undefined)
    logger.error(`Embedded store failed on a request; report this as a bug: ${messageOf(error)}`);
  return {
    "grpc-status": String(STATUS[known?.code ?? "INTERNAL"]),
    "grpc-message": encodeMessage(known?.message ?? "etcdserver: internal error"),
  };
}

/** Percent-encoding as gRPC's "Status-Message". */
const encodeMessage = (message: string): string =>
  message.replace(/[^ -$&-~]+/g, (text) =>
    [...Buffer.from(text)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
