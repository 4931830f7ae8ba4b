/**
 * A list of objects, read as a stream: each object is passed on as soon as it is complete, and then freed. The API server
 * sends thousands of nodes in one response of tens of megabytes; never more than one of them is in memory.
 */

import { StoreError } from "../../base/error.ts";
import { isObject } from "../../config/json-members.ts";
import { JsonFault, JsonReader } from "./json-reader.ts";

/** Longest object that is read. etcd takes objects of 1.5 MB. */
const MAX_ITEM_BYTES = 4 * 1024 * 1024;
/** Longest text around the objects of a list. Real ones have some 200 bytes. */
const MAX_ENVELOPE_BYTES = 64 * 1024;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Objects are items from this depth on: within an array within the list. */
const ITEM_DEPTH = 3;

/** The `metadata` of a list (meta/v1 ListMeta). */
export interface ListMeta {
  readonly version: string;
  /** The continue token of the next page; empty = this was the last. */
  readonly next: string;
}

/** Reads a list to its end; `item` reads each object; `what` is for messages: "nodes". Throws StoreError INVALID, and what `chunks` and `item` throw. */
export async function readList(
  chunks: AsyncIterable<Buffer>,
  item: (reader: JsonReader) => void,
  what: string,
): Promise<ListMeta> {
  const splitter = new ListSplitter(item);
  try {
    for await (const chunk of chunks) splitter.take(chunk);
    const list: unknown = JSON.parse(splitter.envelope);
    const { resourceVersion: version, continue: next = "" } =
      isObject(list) && isObject(list.metadata) ? list.metadata : {};
    if (typeof version === "string" && version !== "" && typeof next === "string") return { version, next };
  } catch (error) {
    if (!(error instanceof JsonFault || error instanceof SyntaxError)) throw error;
  }
  throw new StoreError("INVALID", `the API server's list of ${what} is malformed; check its address`);
}

/** Splits a list into items and the text around them. */
class ListSplitter {
  readonly #item: (reader: JsonReader) => void;
  /** The current item's bytes from earlier chunks. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  readonly #envelope: Buffer[] = [];
  #envelopeBytes = 0;
  #depth = 0;
  #isArray = false;
  #isString = false;
  #isEscaped = false;

  constructor(item: (reader: JsonReader) => void) {
    this.#item = item;
  }

  /** The list without its items. */
  get envelope(): string {
    return Buffer.concat(this.#envelope).toString();
  }

  take(chunk: Buffer): void {
    let start = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (this.#isString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
        else if (byte === QUOTE) this.#isString = false;
        continue;
      }
      switch (byte) {
        case QUOTE:
          this.#isString = true;
          break;
        case OPEN_BRACE:
        case OPEN_BRACKET:
          this.#depth++;
          if (this.#depth === ITEM_DEPTH - 1) this.#isArray = byte === OPEN_BRACKET;
          else if (this.#depth === ITEM_DEPTH && this.#isArray) {
            this.#keepEnvelope(chunk.subarray(start, at));
            start = at;
          }
          break;
        case CLOSE_BRACE:
        case CLOSE_BRACKET:
          if (this.#depth === ITEM_DEPTH && this.#isArray) {
            this.#giveItem(chunk.subarray(start, at + 1));
            start = at + 1;
          }
          this.#depth--;
          break;
        case COMMA:
          if (this.#depth === ITEM_DEPTH - 1 && this.#isArray) {
            this.#keepEnvelope(chunk.subarray(start, at));
            start = at + 1;
          }
          break;
      }
    }
    const rest = chunk.subarray(start);
    if (this.#depth >= ITEM_DEPTH && this.#isArray) {
      this.#held.push(rest);
      this.#heldBytes += rest.length;
      if (this.#heldBytes > MAX_ITEM_BYTES) throw new JsonFault();
    } else this.#keepEnvelope(rest);
  }

  #keepEnvelope(part: Buffer): void {
    this.#envelopeBytes += part.length;
    if (this.#envelopeBytes > MAX_ENVELOPE_BYTES) throw new JsonFault();
    // A copy: a slice would keep the whole chunk in memory.
    if (part.length > 0) this.#envelope.push(Buffer.from(part));
  }

  #giveItem(part: Buffer): void {
    const reader = new JsonReader(this.#held.length === 0 ? part : Buffer.concat([...this.#held, part]));
    this.#held = [];
    this.#heldBytes = 0;
    this.#item(reader);
    reader.end();
  }
}
