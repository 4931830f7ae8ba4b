/**
 * Random HTTP/2 connections from a seed: valid and invalid frames in random order, resets with every error code, half
 * closed streams, pauses between any two frames.
 */

import type { Socket } from "node:net";
import {
  connectRaw,
  FLAG,
  FRAME,
  frameOf,
  grpcFields,
  grpcMessage,
  headerBlock,
  PREFACE,
  setting,
  uint32,
} from "./raw-http2.ts";

/** Numbers from 0 to below 1; the same seed gives the same numbers (xorshift32). */
export function randomFrom(seed: number): () => number {
  let state = (seed | 0) === 0 ? 1 : seed | 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

const PATHS = [
  "/etcdserverpb.KV/Put",
  "/etcdserverpb.KV/Put",
  "/etcdserverpb.KV/Range",
  "/etcdserverpb.KV/Txn",
  "/etcdserverpb.Lease/LeaseKeepAlive",
  "/etcdserverpb.Watch/Watch",
  "/etcdserverpb.Watch/Watch",
  "/etcdserverpb.Maintenance/Status",
  "/etcdserverpb.KV/Nothing",
  "/nothing",
  "*",
  "",
];
/** WatchCreateRequest of everything, from revision 1 on. */
const WATCH_ALL = Buffer.from([0x0a, 0x08, 0x0a, 0x01, 0x00, 0x12, 0x01, 0x00, 0x18, 0x01]);
/** PutRequest and RangeRequest of "k". */
const PUT = Buffer.from([0x0a, 0x01, 0x6b, 0x12, 0x01, 0x76]);
const RANGE = Buffer.from([0x0a, 0x01, 0x6b]);

/** One connection with `steps` random frames. Resolves when it has ended, on whichever side. */
export async function talkAtRandom(endpoint: string, random: () => number, steps: number): Promise<void> {
  const socket = await connectRaw(endpoint);
  if (random() < 0.8) socket.resume(); // the others read nothing
  const frames = new RandomFrames(random);
  if (random() < 0.97) socket.write(PREFACE);
  if (random() < 0.95) socket.write(frameOf(FRAME.SETTINGS, 0, 0));
  for (let step = 0; step < steps && !socket.destroyed; step++) {
    socket.write(frames.next());
    await pause(random);
  }
  await leave(socket, random);
}

/** None, a turn of the event loop, or long enough for the server to have answered. */
async function pause(random: () => number): Promise<void> {
  const chance = random();
  if (chance < 0.5) return;
  if (chance < 0.8) await new Promise((resolve) => setImmediate(resolve));
  else await new Promise((resolve) => setTimeout(resolve, chance < 0.97 ? 1 : 5));
}

async function leave(socket: Socket, random: () => number): Promise<void> {
  const closed = new Promise((resolve) =>
    socket.closed ? resolve(undefined) : socket.once("close", resolve),
  );
  const chance = random();
  if (chance < 0.3 && "resetAndDestroy" in socket && !socket.destroyed) {
    try {
      socket.resetAndDestroy();
    } catch {
      socket.destroy(); // TLS sockets have no reset of their own
    }
  } else if (chance < 0.6) socket.destroy();
  else {
    socket.end();
    setTimeout(() => socket.destroy(), 5);
  }
  await closed;
}

class RandomFrames {
  readonly #random: () => number;
  #lastId = -1;

  constructor(random: () => number) {
    this.#random = random;
  }

  next(): Buffer {
    const chance = this.#random();
    if (chance < 0.28) return this.#request();
    if (chance < 0.45) return this.#data();
    if (chance < 0.68) return frameOf(FRAME.RST_STREAM, 0, this.#id(), uint32(this.#code()));
    if (chance < 0.73) return frameOf(FRAME.WINDOW_UPDATE, 0, this.#anyId(), uint32(this.#edge()));
    if (chance < 0.78) return this.#settings();
    if (chance < 0.82) return frameOf(FRAME.PING, this.#int(2), 0, Buffer.alloc(8));
    if (chance < 0.85) return frameOf(FRAME.PRIORITY, 0, this.#anyId(), Buffer.alloc(5, this.#int(256)));
    if (chance < 0.89) return this.#trailers();
    if (chance < 0.91) return this.#request(true);
    if (chance < 0.93) return this.#goaway();
    return chance < 0.96 ? this.#odd() : this.#continuation();
  }

  #request(isMalformed = false): Buffer {
    this.#lastId += 2;
    const fields = grpcFields(this.#pick(PATHS));
    if (this.#random() < 0.1) fields[0]![1] = this.#pick(["GET", "HEAD", "CONNECT", "OPTIONS", "PUT"]);
    if (this.#random() < 0.1) fields[4]![1] = this.#pick(["application/json", "", "application/grpc+proto"]);
    if (isMalformed) {
      const extra: [string, string] = this.#pick([
        ["Upper-Case", "x"],
        ["connection", "close"],
        [":status", "200"],
        [":path", "/twice"],
        ["transfer-encoding", "chunked"],
        ["content-length", "7"],
        ["big", "x".repeat(9_000)],
        ["grpc-encoding", "gzip"],
        ["nul", "a\0b"],
        ["expect", "100-continue"],
      ]);
      fields.splice(this.#int(fields.length + 1), 0, extra);
    }
    const end = this.#random() < 0.15 ? FLAG.END_STREAM : 0;
    const block = headerBlock(fields);
    const headers =
      this.#random() < 0.85
        ? frameOf(FRAME.HEADERS, FLAG.END_HEADERS | end, this.#lastId, block)
        : Buffer.concat([
            frameOf(FRAME.HEADERS, end, this.#lastId, block.subarray(0, 20)),
            frameOf(FRAME.CONTINUATION, FLAG.END_HEADERS, this.#lastId, block.subarray(20)),
          ]);
    return this.#random() < 0.4 ? Buffer.concat([headers, this.#data(this.#lastId)]) : headers;
  }

  #data(id = this.#id()): Buffer {
    const message = this.#pick([
      PUT,
      RANGE,
      WATCH_ALL,
      WATCH_ALL,
      Buffer.alloc(0),
      Buffer.alloc(30, this.#int(256)),
    ]);
    const length = this.#random() < 0.8 ? message.length : this.#pick([message.length + 5, 0, 2 ** 32 - 1]);
    const bytes = grpcMessage(message, length, this.#random() < 0.95 ? 0 : this.#int(256));
    const end = this.#random() < 0.5 ? FLAG.END_STREAM : 0;
    if (this.#random() < 0.1)
      return frameOf(FRAME.DATA, end | FLAG.PADDED, id, Buffer.concat([Buffer.of(this.#int(256)), bytes]));
    return frameOf(FRAME.DATA, end, id, this.#random() < 0.85 ? bytes : bytes.subarray(0, this.#int(6)));
  }

  #settings(): Buffer {
    if (this.#random() < 0.3) return frameOf(FRAME.SETTINGS, FLAG.ACK, 0);
    return frameOf(FRAME.SETTINGS, 0, 0, setting(this.#int(10), this.#edge()));
  }

  #trailers(): Buffer {
    const flags = FLAG.END_HEADERS | (this.#random() < 0.7 ? FLAG.END_STREAM : 0);
    return frameOf(FRAME.HEADERS, flags, this.#id(), headerBlock([["x-trailer", "1"]]));
  }

  #goaway(): Buffer {
    return frameOf(FRAME.GOAWAY, 0, 0, Buffer.concat([uint32(this.#anyId()), uint32(this.#code())]));
  }

  #continuation(): Buffer {
    return frameOf(FRAME.CONTINUATION, FLAG.END_HEADERS, this.#id(), headerBlock([["a", "b"]]));
  }

  /** Any type, flags and length, also wrong ones. */
  #odd(): Buffer {
    const payload = Buffer.alloc(this.#int(20), this.#int(256));
    const length = this.#random() < 0.8 ? payload.length : this.#edge();
    return frameOf(this.#int(16), this.#int(256), this.#anyId(), payload, length);
  }

  /** A stream that was opened, most often the last one. */
  #id(): number {
    if (this.#lastId < 0) return 1;
    return this.#random() < 0.7 ? this.#lastId : 1 + 2 * this.#int((this.#lastId + 1) / 2);
  }

  #anyId(): number {
    return this.#random() < 0.8 ? this.#id() : this.#pick([0, 2, this.#lastId + 10, 2 ** 31 - 1, 2 ** 31]);
  }

  /** NO_ERROR half of the time, else any (RFC 9113, 7), or none that is known. */
  #code(): number {
    return this.#random() < 0.5 ? 0 : this.#pick([...Array(14).keys(), 99, 2 ** 32 - 1]);
  }

  #edge(): number {
    return this.#pick([0, 1, 5, 100, 16_384, 65_535, 2 ** 24 - 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]);
  }

  #int(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[this.#int(choices.length)]!;
  }
}
