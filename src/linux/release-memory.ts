/**
 * Giving memory back to the machine. A start with thousands of leases leaves garbage that V8 sees no reason to collect
 * as long as nothing more is allocated, free blocks that malloc keeps (malloc_trim(3)), and a program half of whose
 * pages nobody needs again: those of Node.js's own start and of its compilers.
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

/**
 * Takes the pages of the executable out of this process; they stay in the page cache, and each 64 KB of them that is
 * run or read again comes back without a read, in a microsecond. What the loader or anybody else has written to
 * (relocations) is left alone: it is in no file.
 */
function unmapProgram(): void {
  const executable = readProc(() => readlinkSync("/proc/self/exe"));
  for (const mapping of readProc(() => readFileSync("/proc/self/smaps", "utf8")).split(/^(?=[0-9a-f]+-)/m)) {
    const [, start, end, file] = MAPPING.exec(mapping) ?? [];
    if (file === undefined || file !== executable || !/^Anonymous: +0 kB$/m.test(mapping)) continue;
    const address = Number.parseInt(start!, 16);
    sys.madvise(address, Number.parseInt(end!, 16) - address, MADV_DONTNEED);
  }
}

/** Empty where there is no /proc: then this is left. */
function readProc(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}
