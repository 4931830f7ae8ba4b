/** The memory that packets are read into, parsed in and written from, without copies. */

import { compileSum, type SumFunction } from "./checksum-wasm.ts";
import { Memory } from "./webassembly.ts";

const PAGE_BYTES = 64 * 1024;
/** Alignment of every reservation in bytes: a cache line, and more than any struct needs. */
const ALIGNMENT_BYTES = 64;

/** One block of memory that never moves; packets are named by their byte offset in it. */
export interface PacketMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same bytes as 32-bit words. */
  readonly words: Int32Array;
  /** 16-bit one's complement sum of `length` bytes (≤ 128 KB) at `offset`, not complemented (RFC 1071). */
  readonly sum: SumFunction;
  /** Reserves zeroed bytes and gives their offset, a multiple of 64. Throws RangeError if the memory is full. */
  readonly reserve: (sizeBytes: number) => number;
}

/** Creates at least `sizeBytes`, never moved. Pages are only allocated when they are written. */
export function createPacketMemory(sizeBytes: number): PacketMemory {
  const pages = Math.ceil(sizeBytes / PAGE_BYTES);
  const memory = new Memory({ initial: pages, maximum: pages });
  const { buffer } = memory;
  let next = 0;
  return {
    bytes: new Uint8Array(buffer),
    view: new DataView(buffer),
    words: new Int32Array(buffer),
    sum: compileSum(memory),
    reserve(partBytes) {
      const offset = next;
      next += Math.ceil(partBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
      if (next > buffer.byteLength)
        throw new RangeError(`packet memory: no room for ${partBytes} bytes more`);
      return offset;
    },
  };
}
