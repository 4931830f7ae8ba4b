/**
 * The events of a watch (meta/v1 WatchEvent): one JSON object a line, in chunks that end anywhere. A truncated or malformed
 * event ends the watch, which is then resumed after the last valid one.
 */

import { StoreError } from "../../base/error.ts";
import { printable } from "../../base/printable.ts";
import { isObject, type Members } from "../../config/json-members.ts";
import { JsonFault, JsonReader } from "./json-reader.ts";

/** Longest event that is read. etcd takes objects of 1.5 MB. */
const MAX_LINE_BYTES = 4 * 1024 * 1024;
const LINE_FEED = 10;

/** An object read from JSON, and its version. */
interface ReadObject<Kept> {
  /** Undefined = the object has none. */
  readonly version: string | undefined;
  /** Undefined = not an object of that kind: it has no name. */
  readonly object: Kept | undefined;
}

/** Reads the object that `reader` is at. */
export type ObjectReader<Kept> = (reader: JsonReader) => ReadObject<Kept>;

/** One event, with the resourceVersion from which a watch can be resumed. */
export type WatchEvent<Kept> =
  /** `object` is undefined if it is not of the watched kind. */
  | { readonly type: "put" | "delete"; readonly object: Kept | undefined; readonly version: string }
  /** Nothing happened up to this version. */
  | { readonly type: "bookmark"; readonly version: string };

/**
 * The events until the server ends the watch. After a first bookmark more are expected: silence for longer than `silenceMs`
 * then ends it. Throws StoreError: COMPACTED (list again), INVALID, UNAVAILABLE.
 */
export async function* readEvents<Kept>(
  body: AsyncIterable<Buffer> & { patienceMs: number },
  read: ObjectReader<Kept>,
  silenceMs: number,
): AsyncGenerator<WatchEvent<Kept>, void> {
  for await (const line of readLines(body)) {
    const event = parseEvent(line, read);
    if (event.type === "bookmark" && body.patienceMs > silenceMs) body.patienceMs = silenceMs;
    yield event;
  }
}

async function* readLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      pending.push(chunk.subarray(start, end));
      const line = pending.length === 1 ? pending[0]! : Buffer.concat(pending);
      pending = [];
      pendingBytes = 0;
      start = end + 1;
      if (line.length > 0) yield line;
    }
    if (start < chunk.length) {
      pending.push(chunk.subarray(start));
      pendingBytes += chunk.length - start;
    }
    if (pendingBytes > MAX_LINE_BYTES) {
      throw new StoreError(
        "INVALID",
        `the API server sent an event of more than ${MAX_LINE_BYTES >> 20} MiB`,
      );
    }
  }
  if (pendingBytes > 0)
    throw new StoreError("UNAVAILABLE", "the API server ended the watch in the middle of an event");
}

function parseEvent<Kept>(line: Buffer, read: ObjectReader<Kept>): WatchEvent<Kept> {
  let type: string | undefined;
  let found: ReadObject<Kept> | undefined;
  let status: unknown;
  try {
    const reader = new JsonReader(line);
    reader.object((member) => {
      if (member === "type") type = reader.string();
      else if (member !== "object") reader.skip();
      // The type comes first; an object before it is ignored.
      else if (type === "ERROR") status = reader.value();
      else found = read(reader);
    });
    reader.end();
  } catch (error) {
    if (error instanceof JsonFault) throw malformed();
    throw error;
  }
  if (type === "ERROR") throw statusError(isObject(status) ? status : {});
  if (found?.version === undefined) throw malformed();
  const { object, version } = found;
  switch (type) {
    case "ADDED":
    case "MODIFIED":
      return { type: "put", object, version };
    case "DELETED":
      return { type: "delete", object, version };
    case "BOOKMARK":
      return { type: "bookmark", version };
    default:
      throw malformed();
  }
}

const malformed = () => new StoreError("INVALID", "the API server sent a malformed event");

/** A Status within a watch. */
function statusError({ code, reason, message }: Members): StoreError {
  const words = typeof message === "string" ? printable(message) : `an error (${String(code)})`;
  const isStale = code === 410 || reason === "Expired" || reason === "Gone";
  return new StoreError(isStale ? "COMPACTED" : "UNAVAILABLE", `the API server ended the watch: ${words}`);
}
