/** The memory that packets are read into, parsed in and written from, without copies. */

import { compileSum, type SumFunction } from "./checksum-wasm.ts";
import { Memory, type WasmMemory } from "./webassembly.ts";

const PAGE_BYTES = 64 * 1024;
/** Alignment of every reservation in bytes: a cache line, and more than any struct needs. */
const ALIGNMENT_BYTES = 64;

/** One block of memory that never moves; places in it are byte offsets. */
export interface StructMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same bytes as 32-bit words. */
  readonly words: Int32Array;
  /** Reserves zeroed bytes and gives their offset, a multiple of 64. Throws RangeError if the memory is full. */
  readonly reserve: (sizeBytes: number) => number;
}

/** For packets, which are named by their offset. */
export interface PacketMemory extends StructMemory {
  /** 16-bit one's complement sum of `length` bytes (≤ 128 KB) at `offset`, not complemented (RFC 1071). */
  readonly sum: SumFunction;
}

/** Creates at least `sizeBytes`, never moved. Pages are only allocated when they are written. */
export function createPacketMemory(sizeBytes: number): PacketMemory {
  const memory = allocate(sizeBytes);
  return { ...partition(memory.buffer), sum: compileSum(memory) };
}

/** The same for structs only. */
export const createStructMemory = (sizeBytes: number): StructMemory => partition(allocate(sizeBytes).buffer);

function allocate(sizeBytes: number): WasmMemory {
  const pages = Math.ceil(sizeBytes / PAGE_BYTES);
  return new Memory({ initial: pages, maximum: pages });
}

function partition(buffer: ArrayBuffer): StructMemory {
  let next = 0;
  return {
    bytes: new Uint8Array(buffer),
    view: new DataView(buffer),
    words: new Int32Array(buffer),
    reserve(partBytes) {
      const offset = next;
      next += Math.ceil(partBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
      if (next > buffer.byteLength)
        throw new RangeError(`packet memory: no room for ${partBytes} bytes more`);
      return offset;
    },
  };
}
