/**
 * Keeps the native half of an HTTP/2 session in memory until those of its streams are collected. Node.js 26 aborts the process
 * (assertion `current_nghttp2_memory_ == 0` in ~Http2Session, src/node_http2.cc) when a session is collected before a stream that
 * still holds header fields: trailers that were refused, of a client that does not read its responses.
 */

import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";

/** The value stays in memory until the key's finalizer has run, a collection later. */
const sessionOf = new FinalizationRegistry<object>(() => {});

/** To be called with each new stream, before anything can close it. */
export function outliveStream(session: ServerHttp2Session, stream: ServerHttp2Stream): void {
  const [native, nativeSession] = [nativeOf(stream), nativeOf(session)];
  if (native !== undefined && nativeSession !== undefined) sessionOf.register(native, nativeSession);
}

/** node:http2 has no public name for it; undefined after it was closed. */
function nativeOf(wrapper: object): object | undefined {
  const name = Object.getOwnPropertySymbols(wrapper).find(({ description }) => description === "kHandle");
  return name === undefined ? undefined : Reflect.get(wrapper, name);
}
