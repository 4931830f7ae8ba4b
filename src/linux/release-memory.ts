/**
 * Returns memory to the kernel. A start with thousands of leases leaves garbage that V8 does not collect while nothing
 * more is allocated, free blocks that malloc keeps (malloc_trim(3)), and pages of the executable that are only needed
 * at startup: those of Node.js's own startup and of its compilers.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { sys } from "./ffi.ts";

// asm-generic/mman-common.h
const MADV_DONTNEED = 4;

/** proc(5), /proc/pid/smaps: one mapping, read-only and private, and its file. */
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +(.+)$/m;

/** Collects all garbage (if the launcher gave --expose-gc) and returns free pages; blocks for some 10 to 50 ms. */
export function releaseMemory(): void {
  globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" });
  sys.malloc_trim(0);
  unmapProgram();
}

/** As {@link releaseMemory}, with one collection only: for a start that is under way. Blocks for some 20 ms. */
export function trimMemory(): void {
  globalThis.gc?.({ type: "major", execution: "sync" });
  sys.malloc_trim(0);
  unmapProgram();
}

/** Returns free pages and {@link unmapProgram unmaps the program}, without collecting garbage. Blocks for some 3 ms. */
export function unmapIdle(): void {
  sys.malloc_trim(0);
  unmapProgram();
}

/**
 * Unmaps the pages of the executable (madvise(2)). They stay in the page cache: each 64 KB that is run or read again
 * is mapped without disk I/O, within a microsecond. Pages that were written to (relocations) are kept: no file
 * contains them.
 */
export function unmapProgram(): void {
  const executable = readProc(() => readlinkSync("/proc/self/exe"));
  for (const mapping of readProc(() => readFileSync("/proc/self/smaps", "utf8")).split(/^(?=[0-9a-f]+-)/m)) {
    const [, start, end, file] = MAPPING.exec(mapping) ?? [];
    if (file === undefined || file !== executable || !/^Anonymous: +0 kB$/m.test(mapping)) continue;
    const address = Number.parseInt(start!, 16);
    sys.madvise(address, Number.parseInt(end!, 16) - address, MADV_DONTNEED);
  }
}

/** Empty without /proc: the executable then stays mapped. */
function readProc(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}
