/**
 * Messages and packets of strongSwan's VICI protocol (strongSwan, src/libcharon/plugins/vici/README.md): nested sections of
 * text values and lists, in packets that begin with their length.
 */

import { FlannelError } from "../base/error.ts";

/** Contents of a message or section. */
export interface ViciSection {
  readonly [name: string]: string | readonly string[] | ViciSection;
}

/** One packet. `name` is that of the command or event, where the type has one. */
export interface ViciPacket {
  readonly type: number;
  readonly name: string;
  readonly message: ViciSection;
}

// packet types; 2 and 6 answer commands and events that charon does not know
export const CMD_REQUEST = 0;
export const CMD_RESPONSE = 1;
export const EVENT_REGISTER = 3;
export const EVENT_UNREGISTER = 4;
export const EVENT_CONFIRM = 5;
export const EVENT = 7;
const NAMED = [CMD_REQUEST, EVENT_REGISTER, EVENT_UNREGISTER, EVENT];

// element types
const SECTION_START = 1;
const SECTION_END = 2;
const KEY_VALUE = 3;
const LIST_START = 4;
const LIST_ITEM = 5;
const LIST_END = 6;

const LENGTH_BYTES = 4;
/** Packets are refused beyond this size, which the protocol sets. */
const MAX_PACKET_BYTES = 512 * 1024;
const MAX_DEPTH = 16;

/** Throws RangeError if a name has more than 255 bytes or a value more than 65535. */
export function encodePacket({ type, name, message }: ViciPacket): Buffer {
  const parts: Buffer[] = [Buffer.of(type)];
  if (NAMED.includes(type)) parts.push(nameOf(name));
  encodeSection(message, parts);
  const payload = Buffer.concat(parts);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(payload.length);
  return Buffer.concat([length, payload]);
}

function encodeSection(section: ViciSection, parts: Buffer[]): void {
  for (const [name, value] of Object.entries(section)) {
    if (typeof value === "string") parts.push(Buffer.of(KEY_VALUE), nameOf(name), valueBytes(value));
    else if (Array.isArray(value)) {
      parts.push(Buffer.of(LIST_START), nameOf(name));
      for (const item of value as readonly string[]) parts.push(Buffer.of(LIST_ITEM), valueBytes(item));
      parts.push(Buffer.of(LIST_END));
    } else {
      parts.push(Buffer.of(SECTION_START), nameOf(name));
      encodeSection(value as ViciSection, parts);
      parts.push(Buffer.of(SECTION_END));
    }
  }
}

function nameOf(name: string): Buffer {
  const text = Buffer.from(name);
  if (text.length > 255) throw new RangeError("a VICI name has at most 255 bytes");
  return Buffer.concat([Buffer.of(text.length), text]);
}

function valueBytes(value: string): Buffer {
  const text = Buffer.from(value);
  if (text.length > 65535) throw new RangeError("a VICI value has at most 65535 bytes");
  return Buffer.concat([Buffer.of(text.length >> 8, text.length & 255), text]);
}

/**
 * The first packet in `bytes`, and how many bytes it has; undefined = it is not complete yet. Throws FlannelError EPROTO if
 * it is malformed.
 */
export function decodePacket(
  bytes: Buffer,
): { readonly packet: ViciPacket; readonly sizeBytes: number } | undefined {
  if (bytes.length < LENGTH_BYTES) return undefined;
  const length = bytes.readUInt32BE(0);
  if (length < 1 || length > MAX_PACKET_BYTES) throw malformed(`a packet of ${length} bytes`);
  if (bytes.length < LENGTH_BYTES + length) return undefined;
  const cursor = new Cursor(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
  const type = cursor.u8();
  const name = NAMED.includes(type) ? cursor.text(cursor.u8()) : "";
  const message = decodeSection(cursor, 0);
  return { packet: { type, name, message }, sizeBytes: LENGTH_BYTES + length };
}

function decodeSection(cursor: Cursor, depth: number): ViciSection {
  if (depth > MAX_DEPTH) throw malformed("sections nested too deep");
  const section: Record<string, string | readonly string[] | ViciSection> = Object.create(null);
  while (!cursor.isAtEnd) {
    const element = cursor.u8();
    if (element === SECTION_END && depth > 0) return section;
    const name = cursor.text(cursor.u8());
    if (element === KEY_VALUE) section[name] = cursor.text(cursor.u16());
    else if (element === SECTION_START) section[name] = decodeSection(cursor, depth + 1);
    else if (element === LIST_START) section[name] = decodeList(cursor);
    else throw malformed(`element ${element}`);
  }
  if (depth > 0) throw malformed("a section without end");
  return section;
}

function decodeList(cursor: Cursor): string[] {
  const items: string[] = [];
  for (;;) {
    const element = cursor.u8();
    if (element === LIST_END) return items;
    if (element !== LIST_ITEM) throw malformed(`element ${element} in a list`);
    items.push(cursor.text(cursor.u16()));
  }
}

class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    return this.#take(1)[0]!;
  }

  u16(): number {
    return this.#take(2).readUInt16BE();
  }

  text(length: number): string {
    return this.#take(length).toString("utf8");
  }

  #take(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) throw malformed("it ends too early");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

const malformed = (what: string): FlannelError =>
  new FlannelError("EPROTO", `charon sent a malformed VICI packet: ${what}`);
