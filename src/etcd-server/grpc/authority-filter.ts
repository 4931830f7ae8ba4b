/**
 * Repairs `:authority` in the bytes of an HTTP/2 client before nghttp2 reads them. etcd's Go clients send values that no
 * authority may have: `etcdctl endpoint status` of version 3.4 a whole URL ("http://127.0.0.1:2379"), clients of version 3.5
 * "#initially=[127.0.0.1:2379]". Go's server accepts them; nghttp2 resets the stream with PROTOCOL_ERROR (RFC 9113, 8.3.1)
 * before node:http2 sees the request, and has no option against it.
 *
 * Forbidden characters become ".". The server never uses the value; it keeps its length, so that the client's and the
 * server's dynamic tables evict alike (RFC 7541, 4.1). The filter itself needs no table, because every field of a header
 * block delimits itself (RFC 7541, 6). All other bytes pass unchanged, valid or not: judging them is nghttp2's work.
 */

import { repairAuthority } from "./hpack-authority.ts";

const PREFACE_BYTES = 24;
const FRAME_HEADER_BYTES = 9;
/** Frame types and flags (RFC 9113, 6.2 and 6.10). */
const HEADERS = 1;
const CONTINUATION = 9;
const END_STREAM = 0x1;
const END_HEADERS = 0x4;
const PADDED = 0x8;
const PRIORITY = 0x20;
const PRIORITY_BYTES = 5;
/** What nghttp2 accepts as one frame; a larger header block, or one in more frames, passes unchanged. */
const MAX_BLOCK_BYTES = 16 * 1024;
const MAX_HELD_BYTES = MAX_BLOCK_BYTES + 1024;

export class AuthorityFilter {
  /** The preface, then the rest of frames that pass. */
  #bytesToPass = PREFACE_BYTES;
  /** The beginning of a frame header or of a header block. */
  #held: Buffer = Buffer.alloc(0);
  #isOff = false;
  #requests = 0;
  #repairs = 0;

  /** Whether the client has sent a request and needed no repair: it will not need one later. */
  get isConforming(): boolean {
    return this.#requests > 0 && this.#repairs === 0;
  }

  /** What was taken and not returned yet. */
  get held(): Buffer {
    return this.#held;
  }

  /** Takes what the client sent; returns what the server should read now, which may be empty. */
  push(piece: Buffer): Buffer {
    if (this.#isOff) return piece;
    const bytes = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece]);
    const parts: Buffer[] = [];
    let passed = 0; // what is in `parts`
    let at = 0;
    while (at < bytes.length) {
      if (this.#bytesToPass > 0) {
        const step = Math.min(this.#bytesToPass, bytes.length - at);
        this.#bytesToPass -= step;
        at += step;
        continue;
      }
      const frame = readFrame(bytes, at);
      if (frame === undefined) break;
      if (frame.type !== HEADERS) {
        this.#bytesToPass = frame.end - at;
        continue;
      }
      const block = readBlock(bytes, frame);
      if (block === undefined) break;
      this.#requests++;
      const repaired = block.isUsable ? repairAuthority(block.fields) : undefined;
      if (repaired !== undefined && repaired.length <= MAX_BLOCK_BYTES) {
        this.#repairs++;
        parts.push(bytes.subarray(passed, at), headersFrame(frame, repaired));
        passed = block.end;
      }
      at = block.end;
    }
    parts.push(bytes.subarray(passed, at));
    this.#held = bytes.subarray(at);
    if (this.#held.length > MAX_HELD_BYTES) {
      this.#isOff = true;
      parts.push(this.#held);
      this.#held = Buffer.alloc(0);
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }
}

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly start: number;
  readonly end: number;
}

/** The frame at `at`, whose payload may not be there yet; undefined = its header is not complete. */
function readFrame(bytes: Buffer, at: number): Frame | undefined {
  if (bytes.length - at < FRAME_HEADER_BYTES) return undefined;
  const start = at + FRAME_HEADER_BYTES;
  return {
    type: bytes[at + 3]!,
    flags: bytes[at + 4]!,
    streamId: bytes.readUInt32BE(at + 5),
    start,
    end: start + bytes.readUIntBE(at, 3),
  };
}

interface Block {
  readonly fields: Buffer;
  readonly end: number;
  /** False = not as RFC 9113 wants it. */
  readonly isUsable: boolean;
}

/** The header block that begins with a HEADERS frame; undefined = it is not complete. */
function readBlock(bytes: Buffer, first: Frame): Block | undefined {
  const fragments: Buffer[] = [];
  let isUsable = true;
  for (let frame = first; ; ) {
    if (frame.end > bytes.length) return undefined;
    let { start, end } = frame;
    if (frame === first) {
      if ((frame.flags & PADDED) !== 0) end -= bytes[start++] ?? 0;
      if ((frame.flags & PRIORITY) !== 0) start += PRIORITY_BYTES;
    }
    if (start > end) isUsable = false;
    else fragments.push(bytes.subarray(start, end));
    if ((frame.flags & END_HEADERS) !== 0 || !isUsable) {
      return {
        fields: fragments.length === 1 ? fragments[0]! : Buffer.concat(fragments),
        end: frame.end,
        isUsable,
      };
    }
    const next = readFrame(bytes, frame.end);
    if (next === undefined) return undefined;
    if (next.type !== CONTINUATION || next.streamId !== first.streamId) {
      return { fields: Buffer.alloc(0), end: frame.end, isUsable: false };
    }
    frame = next;
  }
}

/** The request's HEADERS frame with another block, without padding and priority. */
function headersFrame({ flags, streamId }: Frame, block: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUIntBE(block.length, 0, 3);
  header[3] = HEADERS;
  header[4] = (flags & END_STREAM) | END_HEADERS;
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, block]);
}
