/**
 * Log files as klog's (k8s.io/klog: -log_dir, -log_file, -log_file_max_size): a file for each severity, which has the lines of
 * this severity and of those above it, and a link to the newest:
 *
 *     flanneld.h1.root.log.INFO.20261128-152905.32578
 *     flanneld.INFO -> flanneld.h1.root.log.INFO.20261128-152905.32578
 *
 * or one file with all lines. Of our own is that old files are removed: klog keeps all of them. Lines are written at once from
 * the severity E on, others within a second, and all at the end (flush).
 */

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { hasCode, messageOf } from "./error.ts";
import { makeDirectory } from "./make-directory.ts";

/** Severities by the first letter of a line, and what files are called. */
export const SEVERITIES: readonly string[] = ["INFO", "WARNING", "ERROR", "FATAL"];
const LETTERS = "IWEF";

export interface LogFileOptions {
  /** Where the files are; created if it is missing. */
  readonly directory: string;
  /** One file for all lines instead: its path. */
  readonly file?: string | undefined;
  /** Parts of the names; the host without its domain. */
  readonly program: string;
  readonly host: string;
  readonly user: string;
  readonly pid: number;
  /** A file of this size is followed by another; 0 = never. */
  readonly maxBytes: number;
  /** So many files of each severity stay, the one in use included. */
  readonly keptFiles: number;
  readonly nowMs: () => number;
  /** Called when writing fails, once until it works again, and must not log. */
  readonly onProblem: (message: string) => void;
}

const FLUSH_MS = 1_000;
const BUFFER_BYTES = 32 * 1024;
const FILE_MODE = 0o640;
/** Files with the same second in their names. */
const MAX_SAME_SECOND = 100;

/** Writes the lines of a log to its files. */
export class LogFiles {
  readonly #options: LogFileOptions;
  /** By severity; a severity without a line has no file. With one file for all only the first is used. */
  readonly #files: (OpenFile | undefined)[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** A problem is reported once, until a flush found none since the one before. */
  #hasProblem = false;
  #hasFailedSinceFlush = false;

  /** Throws the error of the system if the first file cannot be created. */
  constructor(options: LogFileOptions) {
    this.#options = options;
    makeDirectory(options.file === undefined ? options.directory : dirname(options.file), 0o755);
    this.#files[0] = this.#open(0);
  }

  /** A line with its line end, which begins with the letter of its severity. */
  write(line: string): void {
    const severity = Math.max(0, LETTERS.indexOf(line[0] ?? "I"));
    for (let level = this.#options.file === undefined ? severity : 0; level >= 0; level--) {
      this.#try(() => {
        this.#files[level] ??= this.#open(level);
        this.#append(level, line);
      });
    }
    if (severity >= 2) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS).unref();
  }

  /** Writes what is buffered. Synchronous, so that it works while the process exits. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const file of this.#files) this.#try(() => file?.flush());
    if (!this.#hasFailedSinceFlush) this.#hasProblem = false;
    this.#hasFailedSinceFlush = false;
  }

  #append(level: number, line: string): void {
    const { maxBytes } = this.#options;
    const file = this.#files[level]!;
    const bytes = Buffer.byteLength(line);
    if (maxBytes > 0 && file.bytes + bytes > maxBytes && file.bytes > file.headBytes) {
      file.flush();
      const next = this.#open(level); // the old one stays in use if this fails
      file.close();
      this.#files[level] = next;
    }
    this.#files[level]!.append(line, bytes);
  }

  #open(level: number): OpenFile {
    const { file } = this.#options;
    return file === undefined ? this.#openSeverity(SEVERITIES[level]!) : this.#openSingle(file);
  }

  #openSeverity(severity: string): OpenFile {
    const { directory, program, host, user, pid, nowMs } = this.#options;
    const prefix = `${program}.${host}.${user}.log.${severity}.`;
    const name = `${prefix}${formatSecond(nowMs())}.${pid}`;
    // Not through a link that another user has put there: the directory may be /tmp.
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND;
    for (let attempt = 0; ; attempt++) {
      const unique = attempt === 0 ? name : `${name}.${attempt}`;
      try {
        const file = new OpenFile(openSync(join(directory, unique), flags, FILE_MODE), this.#head());
        replaceLink(join(directory, `${program}.${severity}`), unique);
        removeOldest(directory, prefix, this.#options.keptFiles);
        return file;
      } catch (error) {
        if (!hasCode(error, "EEXIST") || attempt === MAX_SAME_SECOND) throw error;
      }
    }
  }

  /** Continues the file that there is, as klog does at startup; a full one is renamed to FILE.1, and so on. */
  #openSingle(path: string): OpenFile {
    if (this.#files[0] !== undefined) {
      for (let number = this.#options.keptFiles - 1; number >= 1; number--) {
        renameIfThere(number === 1 ? path : `${path}.${number - 1}`, `${path}.${number}`);
      }
    }
    // A FIFO without a reader is an error, not a wait.
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NONBLOCK;
    return new OpenFile(openSync(path, flags, FILE_MODE), this.#head());
  }

  /** What klog writes at the beginning of a file, without what it says of Go. */
  #head(): string {
    const created = new Date(this.#options.nowMs()).toISOString().replace("T", " ").replace(/\..*/, " UTC");
    const { host, program } = this.#options;
    return `Log file created at: ${created}\nRunning on machine: ${host}\nBinary: ${program} on Node.js ${process.version}\nLog line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg\n`;
  }

  #try(write: () => void): void {
    try {
      write();
    } catch (error) {
      if (!this.#hasProblem) this.#options.onProblem(`Failed to write log files: ${messageOf(error)}`);
      this.#hasProblem = true;
      this.#hasFailedSinceFlush = true;
    }
  }
}

/** A file that is appended to through a buffer. */
class OpenFile {
  /** Of the file with its buffer. */
  bytes: number;
  readonly headBytes: number;
  readonly #fd: number;
  #buffer: string[] = [];
  #bufferedBytes = 0;

  constructor(fd: number, head: string) {
    this.#fd = fd;
    this.bytes = fstatSync(fd).size;
    this.headBytes = Buffer.byteLength(head);
    if (this.bytes === 0) this.append(head, this.headBytes);
  }

  append(text: string, bytes: number): void {
    this.#buffer.push(text);
    this.#bufferedBytes += bytes;
    this.bytes += bytes;
    if (this.#bufferedBytes >= BUFFER_BYTES) this.flush();
  }

  /** What cannot be written is lost: the next attempt must not have more to write each time. */
  flush(): void {
    if (this.#bufferedBytes === 0) return;
    let rest: Uint8Array = Buffer.from(this.#buffer.join(""));
    this.#buffer = [];
    this.#bufferedBytes = 0;
    while (rest.length > 0) rest = rest.subarray(writeSync(this.#fd, rest));
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** "20261128-152905", local time. */
function formatSecond(ms: number): string {
  const date = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${day}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}

/** The link is a convenience: a log without it is complete. */
function replaceLink(link: string, target: string): void {
  try {
    rmSync(link, { force: true });
    symlinkSync(target, link);
  } catch {
    // another user's file in /tmp
  }
}

/** Names sort by their time. */
function removeOldest(directory: string, prefix: string, kept: number): void {
  const names = readdirSync(directory)
    .filter(
      (name) => name.startsWith(prefix) && /^\d{8}-\d{6}\.\d+(?:\.\d+)?$/.test(name.slice(prefix.length)),
    )
    .sort(compareNames);
  for (const name of names.slice(0, Math.max(0, names.length - kept)))
    rmSync(join(directory, name), { force: true });
}

/** By time, then by number: "….32578.10" after "….32578.9". */
const compareNames = (a: string, b: string): number => a.localeCompare(b, "en", { numeric: true });

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

/** Text as a part of a file name: "DOMAIN\\user" → "DOMAIN_user". */
export const namePart = (text: string): string => text.replace(/[^\w.-]/g, "_") || "unknown";
