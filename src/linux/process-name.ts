/** The name under which pgrep, ss, top and systemctl know this process. */

import { writeFileSync } from "node:fs";

/**
 * Sets it: at most 15 bytes. Node.js's is "node-MainThread". It is the name of the main thread (proc(5), /proc/self/comm); the
 * arguments, which ps shows, stay.
 */
export function setProcessName(name: string): void {
  try {
    writeFileSync("/proc/self/comm", name);
  } catch {
    // without /proc there is nobody to read it
  }
}
