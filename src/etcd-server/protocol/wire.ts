/**
 * Hand-written encoding of the messages that decide how fast the store is: each record is encoded once, when it is
 * created, and copied into every listing and event. All other messages use the generated code. Encoding: https://protobuf.dev/programming-guides/encoding/; field numbers: etcd-api/kv.proto, rpc.proto.
 */

import { bytesOf, type Key } from "./keys.ts";

/** One version of a key: mvccpb.KeyValue. */
export interface KeyRecord {
  readonly key: Key;
  readonly createRevision: number;
  readonly modRevision: number;
  /** Number of puts since the key was created, from 1. */
  readonly version: number;
  readonly value: Uint8Array;
  /** Id of the lease that the key is attached to; 0 = none. */
  readonly lease: bigint;
  /** The encoded message. */
  readonly encoded: Uint8Array;
}

const VARINT = 0;
const BYTES = 2;
const tag = (field: number, wireType: number): number => (field << 3) | wireType;

/** Creates a record; the value is copied. */
export function makeRecord(fields: Omit<KeyRecord, "encoded">): KeyRecord {
  const { key, createRevision, modRevision, version, value, lease } = fields;
  const keyBytes = bytesOf(key);
  const length =
    bytesFieldLength(keyBytes) +
    (1 + varintLength(createRevision)) +
    (1 + varintLength(modRevision)) +
    (1 + varintLength(version)) +
    bytesFieldLength(value) +
    (lease === 0n ? 0 : 1 + MAX_VARINT_LENGTH);
  const buffer = Buffer.allocUnsafe(length);
  let at = writeBytesField(buffer, 0, 1, keyBytes);
  at = writeVarintField(buffer, at, 2, createRevision);
  at = writeVarintField(buffer, at, 3, modRevision);
  at = writeVarintField(buffer, at, 4, version);
  at = writeBytesField(buffer, at, 5, value);
  const valueEnd = at;
  at = lease === 0n ? at : writeInt64Field(buffer, at, 6, lease);
  return {
    ...{ key, createRevision, modRevision, version, lease },
    value: buffer.subarray(valueEnd - value.length, valueEnd),
    encoded: buffer.subarray(0, at),
  };
}

/** The record without its value. */
export const withoutValue = (record: KeyRecord): KeyRecord => makeRecord({ ...record, value: NO_BYTES });

export const NO_BYTES = new Uint8Array();

/** A RangeResponse with an encoded header. */
export function encodeRangeResponse(
  header: Uint8Array,
  records: readonly KeyRecord[],
  more: boolean,
  count: number,
): Uint8Array {
  let length = bytesFieldLength(header) + 2 + 1 + MAX_VARINT_LENGTH;
  for (const { encoded } of records) length += bytesFieldLength(encoded);
  const buffer = Buffer.allocUnsafe(length);
  let at = writeBytesField(buffer, 0, 1, header);
  for (const { encoded } of records) at = writeBytesField(buffer, at, 2, encoded);
  if (more) at = writeVarintField(buffer, at, 3, 1);
  if (count !== 0) at = writeVarintField(buffer, at, 4, count);
  return buffer.subarray(0, at);
}

/** One entry of `WatchResponse.events`, with tag and length. */
export function encodeEventField(
  isDelete: boolean,
  encodedKv: Uint8Array,
  encodedPrevious: Uint8Array | undefined,
): Uint8Array {
  const length =
    (isDelete ? 2 : 0) +
    bytesFieldLength(encodedKv) +
    (encodedPrevious === undefined ? 0 : bytesFieldLength(encodedPrevious));
  const buffer = Buffer.allocUnsafe(1 + varintLength(length) + length);
  let at = writeByte(buffer, 0, tag(11, BYTES));
  at = writeVarint(buffer, at, length);
  if (isDelete) at = writeVarintField(buffer, at, 1, 1);
  at = writeBytesField(buffer, at, 2, encodedKv);
  if (encodedPrevious !== undefined) writeBytesField(buffer, at, 3, encodedPrevious);
  return buffer;
}

/** The KeyValue of a deleted key: its name and the revision of the deletion. */
export function encodeTombstone(key: Key, modRevision: number): Uint8Array {
  const keyBytes = bytesOf(key);
  const buffer = Buffer.allocUnsafe(bytesFieldLength(keyBytes) + 1 + varintLength(modRevision));
  writeVarintField(buffer, writeBytesField(buffer, 0, 1, keyBytes), 3, modRevision);
  return buffer;
}

/** A WatchResponse of events (each from {@link encodeEventField}) with an encoded header. */
export function encodeWatchEvents(
  header: Uint8Array,
  watchId: bigint,
  events: readonly Uint8Array[],
): Uint8Array {
  const start = Buffer.allocUnsafe(bytesFieldLength(header) + 1 + MAX_VARINT_LENGTH);
  let at = writeBytesField(start, 0, 1, header);
  if (watchId !== 0n) at = writeInt64Field(start, at, 2, watchId);
  return Buffer.concat([start.subarray(0, at), ...events]);
}

const MAX_VARINT_LENGTH = 10;

function bytesFieldLength(bytes: Uint8Array): number {
  return bytes.length === 0 ? 0 : 1 + varintLength(bytes.length) + bytes.length;
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++;
  return length;
}

function writeByte(buffer: Buffer, at: number, byte: number): number {
  buffer[at] = byte;
  return at + 1;
}

/** `value`: an integer from 0 to 2^53 - 1. */
function writeVarint(buffer: Buffer, at: number, value: number): number {
  let rest = value;
  let next = at;
  for (; rest >= 128; rest = Math.floor(rest / 128)) buffer[next++] = (rest % 128) | 128;
  buffer[next++] = rest;
  return next;
}

const writeVarintField = (buffer: Buffer, at: number, field: number, value: number): number =>
  writeVarint(buffer, writeByte(buffer, at, tag(field, VARINT)), value);

function writeInt64Field(buffer: Buffer, at: number, field: number, value: bigint): number {
  let rest = BigInt.asUintN(64, value);
  let next = writeByte(buffer, at, tag(field, VARINT));
  for (; rest >= 128n; rest >>= 7n) buffer[next++] = Number(rest & 127n) | 128;
  buffer[next++] = Number(rest);
  return next;
}

/** Writes nothing for no bytes: proto3 omits such a field. */
function writeBytesField(buffer: Buffer, at: number, field: number, bytes: Uint8Array): number {
  if (bytes.length === 0) return at;
  const next = writeVarint(buffer, writeByte(buffer, at, tag(field, BYTES)), bytes.length);
  buffer.set(bytes, next);
  return next + bytes.length;
}
