/** Fixed structs (`ifinfomsg`, `rtmsg`…) declared as a list of `[field, kind]`, in the order of the C struct. */

import type { NumberKind } from "./kind.ts";
import { NetlinkDecodeError } from "./netlink-error.ts";
import type { Writer } from "./writer.ts";

type Field = readonly [name: string, kind: NumberKind];

/** The value of a struct: fields whose name starts with "_" are padding and left out. */
export type FieldsOf<F extends readonly Field[]> = {
  -readonly [K in F[number][0] as K extends `_${string}` ? never : K]: number;
};

/** A fixed struct with value type T. Fields that are not given are written as 0. */
export interface Struct<T> {
  readonly name: string;
  readonly sizeBytes: number;
  decodeInto(target: Record<string, unknown>, bytes: Uint8Array, start: number, end: number): void;
  encode(writer: Writer, value: Partial<T>): void;
}

/** Declares a struct. The fields must need no padding beyond what is declared. */
export function struct<const F extends readonly Field[]>(name: string, fields: F): Struct<FieldsOf<F>> {
  const sizeBytes = fields.reduce((sum, [, kind]) => sum + kind.sizeBytes, 0);
  return {
    name,
    sizeBytes,
    decodeInto(target, bytes, start, end) {
      if (end - start < sizeBytes) {
        throw new NetlinkDecodeError(`${name}: ${sizeBytes} bytes expected, ${end - start} available`, start);
      }
      let at = start;
      for (const [field, kind] of fields) {
        if (field[0] !== "_") target[field] = kind.decode(bytes, at, end);
        at += kind.sizeBytes;
      }
    },
    encode(writer, value) {
      const values = value as Readonly<Record<string, number | undefined>>;
      for (const [field, kind] of fields) kind.encode(writer, values[field] ?? 0);
    },
  };
}
