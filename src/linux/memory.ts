/**
 * Giving memory back to the machine. A start with thousands of leases leaves garbage that V8 sees no reason to collect
 * as long as nothing more is allocated, and free blocks that malloc keeps (malloc_trim(3)).
 */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { sys } from "./ffi.ts";

let collect: (() => void) | undefined;

/** Collects all garbage and returns free pages; blocks for some 10 to 50 ms. */
export function releaseMemory(): void {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
  sys.malloc_trim(0);
}
