/**
 * Attributes (`struct nlattr`, linux/netlink.h): declared as tables from which type, decoder and encoder follow.
 *
 *     const CACHE = attributeTable({ IFLA_MTU: [4, "mtuBytes", u32], … })
 *
 * Each row names the kernel's constant, its number, the field in the decoded value and the kind. Attributes that no
 * row names are skipped: kernels of the future add some. Every length is checked.
 */

import type { Kind, ValueOf } from "./kind.ts";
import { NetlinkDecodeError } from "./netlink-error.ts";
import { align4, type Writer } from "./writer.ts";

// linux/netlink.h
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const NLA_HDRLEN = 4;

// biome-ignore lint/suspicious/noExplicitAny: a row may hold a kind of any value; ValueOf takes it out again
type Row = readonly [id: number, field: string, kind: Kind<any>];
type Rows = Readonly<Record<string, Row>>;

/** The value of a table: every attribute is optional. */
export type AttributesOf<R extends Rows> = {
  -readonly [K in keyof R as R[K][1]]?: ValueOf<R[K][2]> | undefined;
};

/** Attributes with value type T. */
export interface AttributeTable<T> {
  decodeInto(target: Record<string, unknown>, bytes: Uint8Array, start: number, end: number): void;
  decode(bytes: Uint8Array, start: number, end: number): T;
  encode(writer: Writer, value: T): void;
}

/** Declares a table of attributes. */
export function attributeTable<const R extends Rows>(rows: R): AttributeTable<AttributesOf<R>> {
  const list = Object.values(rows);
  const byId: (Row | undefined)[] = [];
  for (const row of list) byId[row[0]] = row;

  const decodeInto = (
    target: Record<string, unknown>,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void => {
    forEachAttribute(bytes, start, end, (id, valueStart, valueEnd) => {
      const row = byId[id];
      if (row !== undefined) target[row[1]] = row[2].decode(bytes, valueStart, valueEnd);
    });
  };
  return {
    decodeInto,
    decode(bytes, start, end) {
      const target: Record<string, unknown> = {};
      decodeInto(target, bytes, start, end);
      return target as AttributesOf<R>;
    },
    encode(writer, value) {
      const values = value as Readonly<Record<string, unknown>>;
      for (const [id, field, kind] of list) {
        const fieldValue = values[field];
        if (fieldValue !== undefined) writeAttribute(writer, id, kind, fieldValue);
      }
    },
  };
}

/** An attribute that holds attributes of the table. */
export const nested = <T>(table: AttributeTable<T>): Kind<T> => ({
  isNested: true,
  decode: (bytes, start, end) => table.decode(bytes, start, end),
  encode: (writer, value) => table.encode(writer, value),
});

/** An attribute that holds a list: attributes of the table, one after the other, numbered from 0. */
export const listOf = <T>(table: AttributeTable<T>): Kind<readonly T[]> => ({
  isNested: true,
  decode(bytes, start, end) {
    const values: T[] = [];
    forEachAttribute(bytes, start, end, (_, valueStart, valueEnd) => {
      values.push(table.decode(bytes, valueStart, valueEnd));
    });
    return values;
  },
  encode(writer, values) {
    for (const [index, value] of values.entries()) writeAttribute(writer, index, nested(table), value);
  },
});

/** Writes one attribute; a flag that is false is left out. */
export function writeAttribute<T>(writer: Writer, id: number, kind: Kind<T>, value: T): void {
  if (kind.isFlag && value === false) return;
  const at = writer.length;
  writer.u16(0);
  writer.u16(kind.isNested ? id | NLA_F_NESTED : id);
  kind.encode(writer, value);
  const length = writer.length - at;
  if (length > 0xffff) throw new RangeError(`attribute ${id}: ${length} bytes do not fit into one`);
  writer.patchU16(at, length);
  writer.align();
}

/** Visits the attributes in `start`…`end`. Throws NetlinkDecodeError if one does not fit. */
export function forEachAttribute(
  bytes: Uint8Array,
  start: number,
  end: number,
  visit: (id: number, valueStart: number, valueEnd: number) => void,
): void {
  let at = start;
  while (end - at >= NLA_HDRLEN) {
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    if (length < NLA_HDRLEN || length > end - at) {
      throw new NetlinkDecodeError(`attribute of ${length} bytes where ${end - at} are left`, at);
    }
    visit((bytes[at + 2]! | (bytes[at + 3]! << 8)) & NLA_TYPE_MASK, at + NLA_HDRLEN, at + length);
    at += align4(length);
  }
}
