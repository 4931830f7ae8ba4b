/** Netlink messages (`struct nlmsghdr`, linux/netlink.h): splitting datagrams, and the layout “struct, then attributes”. */

import type { AttributeTable } from "./attribute.ts";
import { i32, u16, u32 } from "./kind.ts";
import { NetlinkDecodeError } from "./netlink-error.ts";
import type { Struct } from "./struct.ts";
import { align4, type Writer } from "./writer.ts";

// linux/netlink.h
export const NLM_F_REQUEST = 0x01;
export const NLM_F_MULTI = 0x02;
export const NLM_F_ACK = 0x04;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_HDRLEN = 16;

/** One received message. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Who caused it: in a notification, the port id of the socket through which the change was made; 0 = the kernel. */
  readonly portId: number;
  /** The datagram that holds the payload at `start`…`end` (exclusive). */
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** A message to be sent: plain data, turned into bytes by the connection. */
export interface NetlinkRequest {
  /** For people, e.g. "RTM_NEWROUTE". */
  readonly name: string;
  readonly type: number;
  /** NLM_F_… beyond REQUEST, ACK and DUMP, which the connection adds. */
  readonly flags: number;
  // biome-ignore lint/suspicious/noExplicitAny: requestOf() has checked `body` against `layout`
  readonly layout: Layout<any>;
  readonly body: object;
}

/** How the payload of a message type is laid out: a fixed struct, then attributes; decoded to one flat object. */
export interface Layout<T> {
  decode(bytes: Uint8Array, start: number, end: number): T;
  encode(writer: Writer, value: Partial<T>): void;
}

/** The value of a layout. */
export type BodyOf<L> = L extends Layout<infer T> ? T : never;

/** Puts a request together. */
export const requestOf = <T>(
  name: string,
  type: number,
  flags: number,
  layout: Layout<T>,
  body: Partial<T>,
): NetlinkRequest => ({ name, type, flags, layout, body });

/** Joins a struct and a table. Fields of both share one object, so their names must differ. */
export function layoutOf<H, A>(header: Struct<H>, attributes: AttributeTable<A>): Layout<H & A> {
  const firstAttribute = align4(header.sizeBytes);
  return {
    decode(bytes, start, end) {
      const target: Record<string, unknown> = {};
      header.decodeInto(target, bytes, start, end);
      attributes.decodeInto(target, bytes, start + firstAttribute, end);
      return target as H & A;
    },
    encode(writer, value) {
      header.encode(writer, value);
      writer.align();
      attributes.encode(writer, value as A);
    },
  };
}

/** Splits a datagram into its messages. Throws NetlinkDecodeError if a length is wrong. */
export function splitMessages(bytes: Uint8Array): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    if (left < NLMSG_HDRLEN) throw new NetlinkDecodeError(`header of ${left} bytes`, at);
    const length = u32.decode(bytes, at, bytes.length);
    if (length < NLMSG_HDRLEN || length > left) {
      throw new NetlinkDecodeError(`message of ${length} bytes where ${left} are left`, at);
    }
    messages.push({
      type: u16.decode(bytes, at + 4, bytes.length),
      flags: u16.decode(bytes, at + 6, bytes.length),
      sequence: u32.decode(bytes, at + 8, bytes.length),
      portId: u32.decode(bytes, at + 12, bytes.length),
      bytes,
      start: at + NLMSG_HDRLEN,
      end: at + length,
    });
    at += align4(length);
  }
  return messages;
}

/** Writes a request with its header. `extraFlags` are added to the request's own. */
export function writeRequest(
  writer: Writer,
  request: NetlinkRequest,
  sequence: number,
  extraFlags: number,
): void {
  const at = writer.length;
  writer.u32(0);
  writer.u16(request.type);
  writer.u16(request.flags | NLM_F_REQUEST | extraFlags);
  writer.u32(sequence);
  writer.u32(0); // nlmsg_pid: the kernel knows the sender
  request.layout.encode(writer, request.body);
  writer.patchU32(at, writer.length - at);
  writer.align();
}

/** The errno (positive; 0 = success) that an NLMSG_ERROR or NLMSG_DONE message starts with. */
export const errnoOf = (message: NetlinkMessage): number =>
  message.end - message.start < 4 ? 0 : -i32.decode(message.bytes, message.start, message.end);

/** A request in one line, for error messages: its name and every field that is set. */
export const describeRequest = (request: NetlinkRequest): string =>
  `${request.name} ${describe(request.body)}`;

function describe(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `[${value.map(describe).join(", ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([name, field]) => `${name}: ${describe(field)}`).join(", ")}}`;
}
