/** Directories for files that flanneld and the CNI plugin write. */

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { hasCode, isAlreadyExists } from "./error.ts";

/**
 * mkdir -p; `mode` less the umask for all that it creates. Node's own never returns if mkdir(2) fails with ENOENT although
 * the parent exists, as in /proc. Throws the system's error; if the path is not a directory, its first use reports it.
 */
export function makeDirectory(path: string, mode = 0o755): void {
  try {
    makeOne(path, mode);
  } catch (error) {
    if (!hasCode(error, "ENOENT") || dirname(path) === path) throw error;
    makeDirectory(dirname(path), mode);
    makeOne(path, mode);
  }
}

function makeOne(path: string, mode: number): void {
  try {
    mkdirSync(path, mode);
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
}
