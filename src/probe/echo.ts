/**
 * ICMP echo messages (RFC 792, RFC 4443 §4) as probes: identifier, sequence number, and a nonce at the beginning of the data.
 * The rest of the data is zero, so that the checksum is a sum of few words.
 */

import type { Family } from "../address/ip.ts";

const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
const ECHO_REPLY = { 4: 0, 6: 129 } as const;
const IP_HEADER_BYTES = { 4: 20, 6: 40 } as const;
const ICMP_HEADER_BYTES = 8;
const NONCE_BYTES = 4;
/** All of a request that is not zero. */
export const ECHO_HEAD_BYTES = ICMP_HEADER_BYTES + NONCE_BYTES;

/** A small probe as a whole IP packet: what ping(8) sends. */
export const SMALL_BYTES = { 4: 84, 6: 104 } as const;

/** What identifies a probe and its answer. */
export interface Echo {
  /** 16 bits each. */
  readonly identifier: number;
  readonly sequence: number;
  /** 32 bits. */
  readonly nonce: number;
}

/**
 * Writes the head of the ICMP message of a packet of `sizeBytes` in all into `buffer` ({@link ECHO_HEAD_BYTES}) and returns
 * the length of the message; the rest is zero. For IPv6 the kernel computes the checksum.
 */
export function writeEchoRequest(
  buffer: Uint8Array,
  family: Family,
  { identifier, sequence, nonce }: Echo,
  sizeBytes: number,
): number {
  buffer[0] = ECHO_REQUEST[family];
  buffer[1] = 0;
  buffer[4] = identifier >>> 8;
  buffer[5] = identifier & 0xff;
  buffer[6] = sequence >>> 8;
  buffer[7] = sequence & 0xff;
  buffer[8] = nonce >>> 24;
  buffer[9] = (nonce >>> 16) & 0xff;
  buffer[10] = (nonce >>> 8) & 0xff;
  buffer[11] = nonce & 0xff;
  let sum = (ECHO_REQUEST[family] << 8) + identifier + sequence + (nonce >>> 16) + (nonce & 0xffff);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const checksum = family === 4 ? ~sum & 0xffff : 0;
  buffer[2] = checksum >>> 8;
  buffer[3] = checksum & 0xff;
  return sizeBytes - IP_HEADER_BYTES[family];
}

/** An echo message as it was received. */
export interface ReceivedEcho extends Echo {
  readonly type: "request" | "reply";
}

/** Reads an ICMP message of `length` bytes at `start`; undefined if it is no echo, or too short. */
export function readEcho(
  bytes: Uint8Array,
  family: Family,
  start: number,
  length: number,
): ReceivedEcho | undefined {
  if (length < ICMP_HEADER_BYTES + NONCE_BYTES || bytes.length < start + length) return undefined;
  const type = bytes[start];
  if (type !== ECHO_REPLY[family] && type !== ECHO_REQUEST[family]) return undefined;
  const word = (offset: number): number => (bytes[start + offset]! << 8) | bytes[start + offset + 1]!;
  return {
    type: type === ECHO_REPLY[family] ? "reply" : "request",
    identifier: word(4),
    sequence: word(6),
    nonce: ((word(8) << 16) | word(10)) >>> 0,
  };
}
