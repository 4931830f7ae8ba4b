/** Directories for files that flanneld writes. */

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";

/**
 * mkdir -p, mode 0755. Node's own never returns if mkdir(2) fails with ENOENT although the parent exists, as in /proc.
 * Throws the system's error.
 */
export function makeDirectory(path: string): void {
  const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
  try {
    mkdirSync(path, 0o755);
  } catch (error) {
    if (codeOf(error) === "EEXIST") return; // if it is not a directory, opening the file fails
    if (codeOf(error) !== "ENOENT" || dirname(path) === path) throw error;
    makeDirectory(dirname(path));
    try {
      mkdirSync(path, 0o755);
    } catch (again) {
      if (codeOf(again) !== "EEXIST") throw again;
    }
  }
}
