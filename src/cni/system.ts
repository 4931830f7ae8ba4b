/**
 * What the CNI plugin uses of the system: a port with two implementations, Node.js's (node-system.ts) and that of the small
 * engine which runs the plugin on nodes (engine-system.ts, native/cni-engine). No other file of this folder knows which.
 */

import type { Environment } from "./parameters.ts";

/** One run of a program. */
export interface ProgramCall {
  readonly path: string;
  /** For its stdin. */
  readonly input: string;
  /** The whole environment. */
  readonly environment: Environment;
  /** A program that prints more to stdout is killed. */
  readonly maxOutputBytes: number;
}

/** How a program ended. Its stderr has been passed on. */
export interface ProgramEnd {
  /** 0 if a signal ended it. */
  readonly exitCode: number;
  /** "SIGKILL"; undefined = it has exited. */
  readonly signal: string | undefined;
  readonly output: string;
  /** Whether it printed more than `maxOutputBytes`. */
  readonly isOutputCut: boolean;
  /** The end of its stderr: at least the last 300 characters, if there are so many. */
  readonly complaint: string;
}

/**
 * Functions throw errors whose `code` is the errno name ("ENOENT") and whose message names it. Texts are UTF-8; invalid
 * bytes are read as U+FFFD.
 */
export interface System {
  readonly pid: number;
  /** Kernel and architecture as images name them: "linux/amd64". */
  readonly platform: string;
  /**
   * The text of a regular file; symbolic links are followed. Refuses with ENOTREG (FIFO, device, socket), EISDIR, and EFBIG
   * for more than `maxBytes`.
   */
  readRegularFile(path: string, maxBytes: number): string;
  /** The text of a file of procfs, which has no size before it is read. */
  readProcFile(path: string): string;
  /** Whether stat(2) finds a regular file. */
  isFile(path: string): boolean;
  /** Device and inode as a text to compare; undefined = stat(2) fails. */
  identityOf(path: string): string | undefined;
  /** mkdir -p; `mode` less the umask for all that it creates. */
  makeDirectory(path: string, mode: number): void;
  /** Creates a file, with exactly this mode, and syncs it. Throws EEXIST if it exists. */
  writeNewFile(path: string, text: string, mode: number): void;
  /** fsync(2), so that names in it survive a power cut. */
  syncDirectory(path: string): void;
  link(existing: string, path: string): void;
  symlink(target: string, path: string): void;
  rename(from: string, to: string): void;
  /** Removes a file or a symbolic link, if it exists. */
  remove(path: string): void;
  readLink(path: string): string;
  /** Names in a directory. */
  list(path: string): string[];
  /** Runs a program to its end; signals that ask this process to end are forwarded to it. Rejects if it cannot be started. */
  run(call: ProgramCall): Promise<ProgramEnd>;
  /**
   * Connects to a Unix socket, sends `request` and returns all that the peer sends until it closes the connection, 1 MiB at
   * most (EMSGSIZE). Rejects with the error of connect(2), or ETIMEDOUT after `timeoutMs` in all.
   */
  unixRequest(path: string, request: string, timeoutMs: number): Promise<string>;
  sleep(durationMs: number): Promise<void>;
}

/** The path of a name in a directory. */
export const joinPath = (directory: string, name: string): string =>
  `${directory.replace(/\/+$/, "")}/${name}`;
