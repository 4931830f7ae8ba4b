/**
 * The logger of the daemon, in klog's text form (k8s.io/klog: "Lmmdd hh:mm:ss.uuuuuu threadid file:line] msg"):
 *
 *     I0720 15:29:05.891498   32578 main.ts:168] message
 *
 * Each message is one line, so that text from peers and files cannot imitate a line of flanneld's.
 */

import { writeSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { hasCode } from "./error.ts";
import type { Logger } from "./logger.ts";
import { printable } from "./printable.ts";
import { SourceTable } from "./source-table.ts";

export interface KlogOptions {
  /** Takes whole lines, in order; must not throw. Usually {@link writeToStderr}. */
  readonly write: (line: string) => void;
  /** Debug messages up to this level are shown (`-v`). */
  readonly verbosity: number;
  readonly pid: number;
  /** Microseconds since the epoch; by default the machine's clock. */
  readonly nowUs?: () => number;
}

type Severity = "I" | "W" | "E" | "F";

export class Klog implements Logger {
  readonly #options: KlogOptions;
  readonly #nowUs: () => number;

  constructor(options: KlogOptions) {
    this.#options = options;
    this.#nowUs = options.nowUs ?? wallClockUs;
  }

  info(message: string): void {
    this.#print("I", message);
  }

  warn(message: string): void {
    this.#print("W", message);
  }

  error(message: string): void {
    this.#print("E", message);
  }

  /** The last message of a run that ends with an error. Ending it is up to the caller. */
  fatal(message: string): void {
    this.#print("F", message);
  }

  debug(message: string, verbosity = 1): void {
    if (verbosity <= this.#options.verbosity) this.#print("I", message);
  }

  #print(severity: Severity, message: string): void {
    const source = callerSource();
    const pid = String(this.#options.pid).padStart(7);
    this.#options.write(
      `${severity}${formatTime(this.#nowUs())} ${pid} ${source}] ${escapeMessage(message)}\n`,
    );
  }
}

/** "0720 15:29:05.891498", local time. */
function formatTime(us: number): string {
  const ms = Math.floor(us / 1000);
  const date = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, "0");
  const micros = String(date.getMilliseconds() * 1000 + Math.floor(us - ms * 1000)).padStart(6, "0");
  return (
    `${two(date.getMonth() + 1)}${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${micros}`
  );
}

/** Longer messages are cut: nothing of ours is that long, but a peer's data may be. */
const MAX_MESSAGE_LENGTH = 8192;

function escapeMessage(message: string): string {
  const surplus = message.length - MAX_MESSAGE_LENGTH;
  const kept = surplus > 0 ? `${message.slice(0, MAX_MESSAGE_LENGTH)}… (${surplus} more)` : message;
  return printable(kept);
}

/** Set by the build: where the parts of this bundle come from. */
declare const __sourceTable: string | undefined;
let sourceTable: SourceTable | undefined;

/** "main.ts:168": who called the method that called `#print`, from V8's stack text; in a bundle, its source. */
function callerSource(): string {
  const frame = new Error().stack?.split("\n")[4]; // the title, this function, #print, info, and the caller
  const match = /([^/(\s]+):(\d+):(\d+)\)?$/.exec(frame ?? "");
  if (match === null) return "unknown:0";
  const [, file, line, column] = match;
  const found = file === BUNDLE ? findSource(Number(line), Number(column) - 1) : undefined;
  return found ?? `${file}:${line}`;
}

/** The name of the bundle that this is part of; undefined when the sources run. */
const BUNDLE = typeof __sourceTable === "string" ? basename(fileURLToPath(import.meta.url)) : undefined;

function findSource(line: number, column: number): string | undefined {
  sourceTable ??= new SourceTable(typeof __sourceTable === "string" ? __sourceTable : "");
  return sourceTable.find(line, column);
}

let clockOffsetMs = 0;

/** The wall clock with the fine steps of the monotonic one; follows the wall clock when that is set. */
function wallClockUs(): number {
  const coarseMs = Date.now();
  const fineMs = clockOffsetMs + performance.now();
  if (fineMs >= coarseMs && fineMs < coarseMs + 1) return fineMs * 1000;
  clockOffsetMs = coarseMs - performance.now();
  return coarseMs * 1000;
}

const STDERR = 2;
const PATIENCE_MS = 50;
const NEVER_CHANGED = new Int32Array(new SharedArrayBuffer(4));
let isReaderStalled = false;

/**
 * Writes to stderr at once, so that nothing is lost when the process ends. If stderr is a full pipe that does not
 * block, it waits a little for the reader; lines are dropped rather than the daemon held up by a reader that stalls.
 */
export function writeToStderr(line: string): void {
  let rest: Uint8Array = Buffer.from(line);
  let patienceMs = isReaderStalled ? 0 : PATIENCE_MS;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(STDERR, rest));
      isReaderStalled = false;
    } catch (error) {
      if (!hasCode(error, "EAGAIN")) return; // closed: there is no reader
      isReaderStalled = patienceMs-- <= 0;
      if (isReaderStalled) return;
      Atomics.wait(NEVER_CHANGED, 0, 0, 1);
    }
  }
}
