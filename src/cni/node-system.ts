/** The plugin's system by Node.js: for tests, for callers that act as a container runtime, and where the engine is not built. */

import { spawn } from "node:child_process";
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { FlannelError } from "../base/error.ts";
import { makeDirectory } from "../base/make-directory.ts";
import { readRegularFile } from "../base/regular-file.ts";
import type { ProgramCall, ProgramEnd, System } from "./system.ts";

/** What differs between the plugin's own process and a container runtime. */
export interface NodeSystemOptions {
  /** Signals that are forwarded to a program while it runs, instead of ending this process. */
  readonly forwardedSignals?: readonly NodeJS.Signals[];
  /** Receives a program's stderr. */
  readonly onStderr?: (text: string) => void;
  /** Wraps the start of a program, for instance to start it in another network namespace. */
  readonly within?: <T>(start: () => T) => T;
}

const MAX_RESPONSE_BYTES = 1024 * 1024;
const COMPLAINT_LENGTH = 300;

/** The system of this process. */
export function nodeSystem(options: NodeSystemOptions = {}): System {
  return {
    pid: process.pid,
    platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
    readRegularFile,
    readProcFile: (path) => readFileSync(path, "utf8"),
    isFile: (path) => statOf(path)?.isFile() ?? false,
    identityOf(path) {
      const stats = statOf(path);
      return stats && `${stats.dev}:${stats.ino}`;
    },
    makeDirectory,
    writeNewFile,
    syncDirectory,
    link: linkSync,
    symlink: symlinkSync,
    rename: renameSync,
    remove: (path) => rmSync(path, { force: true }),
    readLink: (path) => readlinkSync(path),
    list: (path) => readdirSync(path),
    run: (call) => runProgram(call, options),
    unixRequest,
    sleep: (durationMs) => new Promise((resolve) => setTimeout(resolve, durationMs)),
  };
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

function writeNewFile(path: string, text: string, mode: number): void {
  const file = openSync(path, "wx", mode);
  try {
    fchmodSync(file, mode); // whatever the umask says
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function runProgram(
  { path, input, environment, maxOutputBytes }: ProgramCall,
  { forwardedSignals = [], onStderr, within = (start) => start() }: NodeSystemOptions,
): Promise<ProgramEnd> {
  return new Promise((resolve, reject) => {
    const child = within(() => spawn(path, { env: { ...environment }, stdio: "pipe" }));
    const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
    for (const signal of forwardedSignals) process.on(signal, forward);
    const finish = (settle: () => void): void => {
      for (const signal of forwardedSignals) process.off(signal, forward);
      settle();
    };
    const chunks: Buffer[] = [];
    let outputBytes = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes <= maxOutputBytes) {
        chunks.push(chunk);
        return;
      }
      child.kill("SIGKILL");
      child.stdout.destroy(); // its own children may still have it open
    });
    let complaint = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      onStderr?.(text);
      complaint = (complaint + text).slice(-COMPLAINT_LENGTH);
    });
    child.stdin.on("error", () => {}); // it ended without reading: the exit code decides
    child.stdin.end(input);
    child.on("error", (error) => finish(() => reject(error)));
    child.on("close", (exitCode, signal) =>
      finish(() =>
        resolve({
          exitCode: exitCode ?? 0,
          signal: signal ?? undefined,
          output: Buffer.concat(chunks).toString("utf8"),
          isOutputCut: outputBytes > maxOutputBytes,
          complaint,
        }),
      ),
    );
  });
}

function unixRequest(path: string, request: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let responseBytes = 0;
    const socket = connect(path, () => void socket.write(request));
    const refuse = (code: string, what: string): void => {
      socket.destroy(new FlannelError(code, `${code}: ${what}, ${path}`));
    };
    const timer = setTimeout(() => refuse("ETIMEDOUT", `no answer in ${timeoutMs} ms`), timeoutMs);
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      responseBytes += chunk.length;
      if (responseBytes > MAX_RESPONSE_BYTES) refuse("EMSGSIZE", "the answer is too long");
    });
    socket.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    socket.on("error", reject);
    socket.on("close", () => clearTimeout(timer));
  });
}
