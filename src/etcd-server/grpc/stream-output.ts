/**
 * The answering half of an HTTP/2 stream. A client may reset a stream between any two steps of the server, and
 * node:http2 then throws from respond() and sendTrailers() (ERR_HTTP2_INVALID_STREAM). No stream, in any state, may end
 * the process, so all answers go through these functions: they check `closed` as well as `destroyed`, and catch.
 */

import type { OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";

/** Whether the client can still receive something on this stream. `closed`: reset, also with NO_ERROR. */
export const isOpen = (stream: ServerHttp2Stream): boolean => !stream.destroyed && !stream.closed;

/**
 * Sends the response headers. `trailers`: the stream ends with what it returns; undefined = it ends with the headers.
 * False = the stream is closed or was answered; nothing was sent.
 */
export function respond(
  stream: ServerHttp2Stream,
  headers: OutgoingHttpHeaders,
  trailers?: () => OutgoingHttpHeaders,
): boolean {
  if (!isOpen(stream) || stream.headersSent) return false;
  if (trailers !== undefined) {
    stream.once("wantTrailers", () => {
      if (isOpen(stream)) attempt(stream, () => stream.sendTrailers(trailers()));
    });
  }
  return attempt(stream, () =>
    stream.respond(headers, trailers === undefined ? { endStream: true } : { waitForTrailers: true }),
  );
}

/** Writes pieces of a message; `sent` is called when they have been sent, or not at all. False = the stream is closed. */
export function write(stream: ServerHttp2Stream, pieces: readonly Uint8Array[], sent: () => void): boolean {
  if (!isOpen(stream) || stream.writableEnded) return false;
  return attempt(stream, () => {
    for (const piece of pieces.slice(0, -1)) stream.write(piece);
    stream.write(pieces.at(-1)!, () => sent());
  });
}

/** Ends the stream after what was written; trailers follow. */
export function end(stream: ServerHttp2Stream): void {
  if (isOpen(stream) && !stream.writableEnded) attempt(stream, () => stream.end());
}

/** A stream that cannot be answered is destroyed; its connection continues. */
function attempt(stream: ServerHttp2Stream, action: () => void): boolean {
  try {
    action();
    return true;
  } catch {
    stream.destroy();
    return false;
  }
}
