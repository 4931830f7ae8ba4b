/**
 * Reading a regular file whose path comes from outside. open(2) of a FIFO blocks until a process writes, a device or a file
 * of many gigabytes never ends: both are refused before anything is read.
 */

import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { FlannelError } from "./error.ts";

/**
 * The UTF-8 text of a regular file; symbolic links are followed.
 *
 * @param maxBytes size from which on the file is refused
 * @throws FlannelError with code EISDIR, EFBIG or ENOTREG (FIFO, device, socket); errors of stat(2), open(2) and read(2)
 */
export function readRegularFile(path: string, maxBytes: number): string {
  checkType(statSync(path), path); // opening a device can have effects of its own
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    checkType(fstatSync(file), path); // replaced meanwhile
    const buffer = Buffer.alloc(Math.min(maxBytes, Math.max(fstatSync(file).size, 4_096)) + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < buffer.length; length += read) {
      read = readSync(file, buffer, length, buffer.length - length, null);
    }
    if (length > maxBytes) throw new FlannelError("EFBIG", `EFBIG: larger than ${maxBytes} bytes, ${path}`);
    return buffer.toString("utf8", 0, length);
  } finally {
    closeSync(file);
  }
}

function checkType(stats: Stats, path: string): void {
  if (stats.isFile()) return;
  if (stats.isDirectory()) throw new FlannelError("EISDIR", `EISDIR: is a directory, ${path}`);
  const type = stats.isFIFO() ? "a FIFO" : stats.isSocket() ? "a socket" : "a device";
  throw new FlannelError("ENOTREG", `is ${type} and not a regular file, ${path}`);
}
