/** Files that other programs read while flanneld writes them. */

import { mkdirSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { FlannelError, messageOf } from "../base/error.ts";

/**
 * Replaces the file's content by `text` atomically (rename(2)): a reader, or a host that loses power, sees the old content
 * or the new one, never a part. Missing directories are created (0755). Throws FlannelError with the errno's name
 * (EROFS, EACCES, ENOSPC…).
 *
 * @param mode permissions, e.g. 0o644; not narrowed by the umask
 */
export async function writeFileAtomic(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    makeDirectory(dirname(path));
    const file = await open(temporary, "w", 0o600);
    try {
      await file.writeFile(text);
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}); // a read-only file system has no temporary file
    const code = (error as NodeJS.ErrnoException).code ?? "EIO";
    throw new FlannelError(code, `failed to write ${path}: ${messageOf(error)}`, { cause: error });
  }
}

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
