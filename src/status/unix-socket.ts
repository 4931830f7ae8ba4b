/** Listening on a unix socket that only root can use. A socket file without a server is replaced, a live one is not. */

import { lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { ConfigError, hasCode, messageOf } from "../base/error.ts";
import { makeDirectory } from "../base/make-directory.ts";
import { listen } from "./bounded-server.ts";

/** sun_path holds 108 bytes with the final zero (unix(7)); a longer path would be cut. */
const MAX_PATH_BYTES = 107;

/** Makes `server` listen at `path` (mode 0600). `flag` is the one that chooses the path. Throws ConfigError. */
export async function listenOnSocket(server: Server, path: string, flag = "--status-socket"): Promise<void> {
  const fail = (problem: string, cause?: unknown) => new ConfigError(problem, { cause });
  if (Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw fail(`the path is longer than ${MAX_PATH_BYTES} bytes; choose another ${flag}`);
  try {
    makeDirectory(dirname(path));
    if (existsAsSocket(path, fail)) {
      if (await isServed(path)) throw fail(`another process serves it; choose another ${flag}`);
      unlinkSync(path);
    }
    await withUmask(0o177, () => listen(server, { path }));
  } catch (error) {
    throw error instanceof ConfigError ? error : fail(messageOf(error), error);
  }
}

function existsAsSocket(path: string, fail: (problem: string) => ConfigError): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (!found.isSocket()) throw fail("the file there is not a socket; remove it");
  return true;
}

/** Whether a process accepts connections there. */
async function isServed(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once("connect", () => resolve(true));
  socket.once("error", (error) => resolve(!hasCode(error, "ECONNREFUSED") && !hasCode(error, "ENOENT")));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

/** node:net binds before `start` returns, so that the file never exists with another mode. */
function withUmask<T>(mask: number, start: () => T): T {
  const before = process.umask(mask);
  try {
    return start();
  } finally {
    process.umask(before);
  }
}
