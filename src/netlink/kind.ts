/**
 * The kinds of value that structs and attributes hold. A kind is a decoder and an encoder; tables of kinds
 * (struct.ts, attribute.ts) give whole messages. Text forms are canonical, so that they can be compared as strings.
 */

import { formatIpBytes, parseIpBytes } from "../address/ip.ts";
import { NetlinkDecodeError } from "./netlink-error.ts";
import type { Writer } from "./writer.ts";

/** How one kind of value is encoded in bytes `start`…`end` (exclusive). Decoders throw NetlinkDecodeError. */
export interface Kind<T> {
  readonly decode: (bytes: Uint8Array, start: number, end: number) => T;
  readonly encode: (writer: Writer, value: T) => void;
  /** Present by being there (NLA_FLAG): `false` is not written at all. */
  readonly isFlag?: true;
  /** Holds attributes: written with NLA_F_NESTED. */
  readonly isNested?: true;
}

/** A number of fixed width, also fit for structs. */
export interface NumberKind extends Kind<number> {
  readonly sizeBytes: number;
}

/** The value that a kind decodes to and encodes from. */
export type ValueOf<K> = K extends Kind<infer T> ? T : never;

const need = (count: number, start: number, end: number): void => {
  if (end - start < count)
    throw new NetlinkDecodeError(`${count} bytes expected, ${end - start} available`, start);
};

const readU16 = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8);
const readI32 = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

/** Unsigned 8-bit number, 0…255. */
export const u8: NumberKind = {
  sizeBytes: 1,
  decode: (bytes, start, end) => {
    need(1, start, end);
    return bytes[start]!;
  },
  encode: (writer, value) => writer.u8(value),
};

/** Unsigned 16-bit number in host order. */
export const u16: NumberKind = {
  sizeBytes: 2,
  decode: (bytes, start, end) => {
    need(2, start, end);
    return readU16(bytes, start);
  },
  encode: (writer, value) => writer.u16(value),
};

/** Unsigned 16-bit number in network order: ports (`__be16`). */
export const u16be: NumberKind = {
  sizeBytes: 2,
  decode: (bytes, start, end) => {
    need(2, start, end);
    return (bytes[start]! << 8) | bytes[start + 1]!;
  },
  encode: (writer, value) => writer.u16be(value),
};

/** Unsigned 32-bit number in host order. */
export const u32: NumberKind = {
  sizeBytes: 4,
  decode: (bytes, start, end) => {
    need(4, start, end);
    return readI32(bytes, start) >>> 0;
  },
  encode: (writer, value) => writer.u32(value),
};

/** Signed 32-bit number in host order, e.g. a network namespace id. */
export const i32: NumberKind = {
  sizeBytes: 4,
  decode: (bytes, start, end) => {
    need(4, start, end);
    return readI32(bytes, start);
  },
  encode: (writer, value) => writer.u32(value),
};

/** Unsigned 32-bit number in network order (`__be32`). */
export const u32be: NumberKind = {
  sizeBytes: 4,
  decode: (bytes, start, end) => {
    need(4, start, end);
    return (
      ((bytes[start]! << 24) | (bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!) >>> 0
    );
  },
  encode: (writer, value) => writer.u32be(value),
};

/** Unsigned 64-bit number in host order, as a bigint: it may exceed 2^53. */
export const u64: Kind<bigint> = {
  decode: (bytes, start, end) => {
    need(8, start, end);
    return BigInt(readI32(bytes, start) >>> 0) | (BigInt(readI32(bytes, start + 4) >>> 0) << 32n);
  },
  encode: (writer, value) => writer.u64(value),
};

/** One byte, 0 or 1. Unlike `flag`, it is written when false too. */
export const bool: Kind<boolean> = {
  decode: (bytes, start, end) => u8.decode(bytes, start, end) !== 0,
  encode: (writer, value) => writer.u8(value ? 1 : 0),
};

/** There or not there. */
export const flag: Kind<boolean> = { isFlag: true, decode: () => true, encode: () => {} };

const utf8 = new TextDecoder();
const toUtf8 = new TextEncoder();

/** Text that ends at the first NUL or at the end. */
export const string: Kind<string> = {
  decode: (bytes, start, end) => {
    let stop = start;
    while (stop < end && bytes[stop] !== 0) stop++;
    return utf8.decode(bytes.subarray(start, stop));
  },
  encode: (writer, value) => {
    writer.bytes(toUtf8.encode(value));
    writer.u8(0);
  },
};

/** Bytes as they are. */
export const bytes: Kind<Uint8Array> = {
  decode: (source, start, end) => source.slice(start, end),
  encode: (writer, value) => writer.bytes(value),
};

/** An IPv4 or IPv6 address in canonical text form; the family shows in the length. */
export const ip: Kind<string> = {
  decode: (source, start, end) => {
    const text =
      end - start === 4
        ? `${source[start]}.${source[start + 1]}.${source[start + 2]}.${source[start + 3]}`
        : formatIpBytes(source.subarray(start, end));
    if (text === undefined) throw new NetlinkDecodeError(`an address of ${end - start} bytes`, start);
    return text;
  },
  encode: (writer, value) => {
    const address = parseIpBytes(value);
    if (address === undefined) throw new TypeError(`not an IP address: ${JSON.stringify(value)}`);
    writer.bytes(address);
  },
};

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** A link-layer address as "aa:bb:cc:dd:ee:ff"; on some tunnels it is 4 or 16 bytes long. */
export const mac: Kind<string> = {
  decode: (source, start, end) => {
    let text = "";
    for (let at = start; at < end; at++) text += at === start ? HEX[source[at]!]! : `:${HEX[source[at]!]!}`;
    return text;
  },
  encode: (writer, value) => {
    for (let at = 0; at < value.length; at += 3) {
      const byte = (hexDigit(value.charCodeAt(at)) << 4) | hexDigit(value.charCodeAt(at + 1));
      const isLast = at + 2 === value.length;
      if (byte < 0 || (!isLast && value[at + 2] !== ":") || at + 3 === value.length) {
        throw new TypeError(`not a link-layer address: ${JSON.stringify(value)}`);
      }
      writer.u8(byte);
    }
  },
};

/** Value of a hexadecimal digit; negative for any other character. */
function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
