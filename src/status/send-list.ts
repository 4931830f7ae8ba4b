/** Sends a list as JSON, or text in pieces, in slices, so that thousands of items neither hold up the event loop nor are in memory at once. */

import type { ServerResponse } from "node:http";
import { printableJson } from "../base/printable.ts";
import { headersOf } from "./bounded-server.ts";

/** How long to work before yielding to others. */
const SLICE_MS = 1;
const CHUNK_CHARACTERS = 32 * 1024;

/** Resolves when all is sent or the client has left. Rejects with what `items` throws. */
export const sendList = (response: ServerResponse, items: Iterable<unknown>): Promise<void> =>
  sendPieces(response, listPieces(items), "application/json");

function* listPieces(items: Iterable<unknown>): Generator<string> {
  yield "[";
  let isFirst = true;
  for (const item of items) {
    yield `${isFirst ? "" : ",\n"}${printableJson(JSON.stringify(item))}`;
    isFirst = false;
  }
  yield "]\n";
}

/** The same for any text in pieces. */
export async function sendPieces(
  response: ServerResponse,
  pieces: Iterable<string>,
  type: string,
): Promise<void> {
  response.writeHead(200, headersOf(type));
  if (response.req.method === "HEAD") {
    response.end();
    return;
  }
  let text = "";
  let sliceEndsMs = performance.now() + SLICE_MS;
  for (const piece of pieces) {
    text += piece;
    const isLate = performance.now() >= sliceEndsMs;
    if (text.length < CHUNK_CHARACTERS && !isLate) continue;
    const isTaken = response.write(text);
    text = "";
    if (!isTaken) await writable(response);
    else if (isLate) await new Promise((resolve) => setImmediate(resolve));
    if (response.destroyed) return;
    if (!isTaken || isLate) sliceEndsMs = performance.now() + SLICE_MS;
  }
  response.end(text);
}

/** Resolves when the client has read enough, or has left: one that does not read is cut by the server's timeout. */
function writable(response: ServerResponse): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const finish = () => {
    response.off("drain", finish);
    response.off("close", finish);
    resolve();
  };
  response.once("drain", finish);
  response.once("close", finish);
  if (response.destroyed) finish();
  return promise;
}
