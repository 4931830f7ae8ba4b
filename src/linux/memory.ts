/**
 * Giving memory back to the machine. A start with thousands of leases leaves garbage that V8 sees no reason to collect
 * as long as nothing more is allocated, and free blocks that malloc keeps (malloc_trim(3)).
 */

import { sys } from "./ffi.ts";

/** Collects all garbage (if the launcher gave --expose-gc) and returns free pages; blocks for some 10 to 50 ms. */
export function releaseMemory(): void {
  globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" });
  sys.malloc_trim(0);
}
