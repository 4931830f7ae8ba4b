/** Files that other programs read while flanneld writes them. */

import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { FlannelError, messageOf } from "../base/error.ts";
import { makeDirectory } from "../base/make-directory.ts";

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
