/**
 * The plugin's system in the engine that runs it on nodes. native/cni-engine/src/host.rs has the functions of
 * {@link EngineHost}: each returns when it is done, takes and returns texts in UTF-8, and throws errors with a `code`.
 */

import type { ProgramEnd, System } from "./system.ts";

/** The object that the engine provides. Functions that are also in System do the same. */
export interface EngineHost {
  readonly pid: number;
  readonly platform: string;
  /** Names and values. */
  readonly environment: readonly (readonly [string, string])[];
  /** The plugin's exit code, which it sets last. */
  exitCode?: number;
  /** Standard input; `promptMs` below zero: to its end, else as far as it has arrived by then. Throws EFBIG. */
  readInput(maxBytes: number, promptMs: number): string;
  /** To standard output (1) or error (2); an error of the latter is ignored. */
  write(descriptor: 1 | 2, text: string): void;
  readRegularFile(path: string, maxBytes: number): string;
  readProcFile(path: string): string;
  isFile(path: string): boolean;
  identityOf(path: string): string | undefined;
  makeDirectory(path: string, mode: number): void;
  writeNewFile(path: string, text: string, mode: number): void;
  syncDirectory(path: string): void;
  link(existing: string, path: string): void;
  symlink(target: string, path: string): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
  readLink(path: string): string;
  list(path: string): string[];
  /** `environment`: names and values in turn. */
  run(path: string, input: string, environment: readonly string[], maxOutputBytes: number): ProgramEnd;
  unixRequest(path: string, request: string, timeoutMs: number): string;
  sleep(durationMs: number): void;
}

/** Half of a surrogate pair, which JSON text can contain, has no UTF-8: U+FFFD takes its place, as in Node.js. */
const utf8 = (text: string): string => text.toWellFormed();

/** The engine's system. */
export const engineSystem = (host: EngineHost): System => ({
  pid: host.pid,
  platform: host.platform,
  readRegularFile: (path, maxBytes) => host.readRegularFile(utf8(path), maxBytes),
  readProcFile: (path) => host.readProcFile(utf8(path)),
  isFile: (path) => host.isFile(utf8(path)),
  identityOf: (path) => host.identityOf(utf8(path)),
  makeDirectory: (path, mode) => host.makeDirectory(utf8(path), mode),
  writeNewFile: (path, text, mode) => host.writeNewFile(utf8(path), utf8(text), mode),
  syncDirectory: (path) => host.syncDirectory(utf8(path)),
  link: (existing, path) => host.link(utf8(existing), utf8(path)),
  symlink: (target, path) => host.symlink(utf8(target), utf8(path)),
  rename: (from, to) => host.rename(utf8(from), utf8(to)),
  remove: (path) => host.remove(utf8(path)),
  readLink: (path) => host.readLink(utf8(path)),
  list: (path) => host.list(utf8(path)),
  async run({ path, input, environment, maxOutputBytes }) {
    const pairs = Object.entries(environment).filter(([, value]) => value !== undefined);
    return host.run(utf8(path), utf8(input), (pairs.flat() as string[]).map(utf8), maxOutputBytes);
  },
  unixRequest: async (path, request, timeoutMs) => host.unixRequest(utf8(path), utf8(request), timeoutMs),
  sleep: async (durationMs) => host.sleep(durationMs),
});

/** A line for standard error, as every text that this program prints. */
export const writeText = (host: EngineHost, descriptor: 1 | 2, text: string): void =>
  host.write(descriptor, utf8(text));
