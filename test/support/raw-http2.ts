/**
 * HTTP/2 frames written byte by byte (RFC 9113, 4), valid or not, on a plain or TLS connection: what no HTTP/2 library
 * would send. Header blocks are literals without indexing and without Huffman coding (RFC 7541, 6.2.2).
 */

import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Frame types (RFC 9113, 6). */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

/** Flags of frames; ACK and END_STREAM share a bit. */
export const FLAG = { ACK: 1, END_STREAM: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

/** A frame; `length` = the length that its header claims. */
export function frameOf(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array = Buffer.alloc(0),
  length = payload.length,
): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(length & 0xff_ffff, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(streamId >>> 0, 5);
  return Buffer.concat([header, payload]);
}

export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};

/** One SETTINGS parameter (RFC 9113, 6.5.1). */
export function setting(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt16BE(id);
  bytes.writeUInt32BE(value >>> 0, 2);
  return bytes;
}

/** A header block. */
export const headerBlock = (fields: readonly (readonly [name: string, value: string])[]): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), stringOf(name), stringOf(value)]));

/** The fields of a gRPC request for `path`. */
export const grpcFields = (path: string, authority = "store"): [string, string][] => [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", path],
  [":authority", authority],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
];

/** A gRPC message with its prefix; `length` = the length that the prefix claims. */
export function grpcMessage(message: Uint8Array, length = message.length, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(length >>> 0, 1);
  return Buffer.concat([prefix, message]);
}

function stringOf(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.concat([integer(bytes.length, 7), bytes]);
}

/** RFC 7541, 5.1, with the bits above the prefix 0. */
function integer(value: number, prefixBits: number): Buffer {
  const max = 2 ** prefixBits - 1;
  if (value < max) return Buffer.of(value);
  const bytes = [max];
  let rest = value - max;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A connection to `endpoint` ("http://…" or "https://…", any certificate accepted) that ignores what it receives. */
export async function connectRaw(endpoint: string): Promise<Socket> {
  const { protocol, hostname, port } = new URL(endpoint);
  const isTls = protocol === "https:";
  const socket: Socket = isTls
    ? connectTls({ host: hostname, port: Number(port), ALPNProtocols: ["h2"], rejectUnauthorized: false })
    : connectTcp({ host: hostname, port: Number(port) });
  const failed = new Promise<never>((_, reject) => socket.once("error", reject));
  await Promise.race([once(socket, isTls ? "secureConnect" : "connect"), failed]);
  socket.removeAllListeners("error").on("error", () => {}); // a reset is an ordinary answer
  failed.catch(() => {});
  return socket.setNoDelay(true);
}
