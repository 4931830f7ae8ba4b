/** Files that others read while we write them. */

import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { FlannelError, messageOf } from "../base/error.ts";

/**
 * Puts `text` in the place of the file's content so that a reader, or a power cut, meets the old content or the new one,
 * never a part (rename(2)). Missing directories are made (0755). Throws FlannelError with the errno's name
 * (EROFS, EACCES, ENOSPC…).
 *
 * @param mode permissions, e.g. 0o644; not narrowed by the umask
 */
export async function writeFileAtomic(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await makeDirectory(dirname(path));
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
    await rm(temporary, { force: true }).catch(() => {}); // on a read-only file system there is nothing to remove
    const code = (error as NodeJS.ErrnoException).code ?? "EIO";
    throw new FlannelError(code, `cannot write ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** mkdir -p. Node's own never comes to an end where mkdir(2) says ENOENT although the parent is there, as in /proc. */
async function makeDirectory(path: string): Promise<void> {
  const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
  try {
    await mkdir(path, 0o755);
  } catch (error) {
    if (codeOf(error) === "EEXIST") return; // if it is no directory, what follows says so
    if (codeOf(error) !== "ENOENT" || dirname(path) === path) throw error;
    await makeDirectory(dirname(path));
    await mkdir(path, 0o755).catch((again: unknown) => {
      if (codeOf(again) !== "EEXIST") throw again;
    });
  }
}
