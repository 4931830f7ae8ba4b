/**
 * Runs an operator's commands by `sh -c`, each in a process group of its own, which a timeout or the end of this process kills
 * as a whole. What a command leaves running in the background when it has succeeded stays.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { FlannelError, messageOf } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import type { RunShell, ShellCommand } from "../extension/shell.ts";
import { withNetns } from "./netns.ts";

export interface ShellOptions {
  /** Aborted = running commands are stopped, and no more are started. */
  readonly signal: AbortSignal;
  /** What commands inherit. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** A command is killed after this time. Default 60 s. */
  readonly timeoutMs?: number;
  /** Path of the network namespace that commands run in. */
  readonly netns?: string | undefined;
}

const TIMEOUT_MS = 60_000;
/** From SIGTERM to SIGKILL. */
const GRACE_MS = 500;
/** How long output is awaited after a shell has ended: a background process may hold it open for ever. */
const OUTPUT_MS = 200;
/** A lease holds at most 64 KiB of text (lease-codec.ts). */
const MAX_OUTPUT_BYTES = 32 * 1024;
/** What is kept of the end of standard error, and what of that is shown. */
const MAX_ERROR_BYTES = 4 * 1024;
const MAX_ERROR_LENGTH = 300;

/** Variables of this process that are none of a command's business: passwords, and what belongs to one process only. */
const NOT_INHERITED = /^(?:FLANNELD_.*|NOTIFY_SOCKET|LISTEN_(?:FDS|PID|FDNAMES)|WATCHDOG_.*)$/;

/** Process groups of the commands that run. */
const groups = new Set<number>();
let isExitWatched = false;

/** Commands that still run when this process exits are killed. */
function watchExit(): void {
  if (isExitWatched) return;
  isExitWatched = true;
  process.once("exit", () => {
    for (const group of groups) killGroup(group, "SIGKILL");
  });
}

/** Runs commands until `signal` is aborted. */
export function createShell(options: ShellOptions): RunShell {
  const { signal, timeoutMs = TIMEOUT_MS } = options;
  const inherited = Object.fromEntries(
    Object.entries(options.environment).filter(([name]) => !NOT_INHERITED.test(name)),
  );
  watchExit();

  return async (command) => {
    if (signal.aborted) throw stopping();
    const env = { ...inherited, ...command.environment };
    const child = start(command, env, options.netns);
    const group = child.pid;
    if (group !== undefined) groups.add(group);
    let reason: FlannelError | undefined;
    let isEnded = false;
    const end = (why: FlannelError) => {
      reason ??= why;
      if (group === undefined || isEnded) return;
      killGroup(group, "SIGTERM");
      setTimeout(() => groups.has(group) && killGroup(group, "SIGKILL"), GRACE_MS).unref();
    };
    const timer = setTimeout(
      () => end(new FlannelError("ETIMEDOUT", `killed after ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    const onAbort = () => end(stopping());
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      const { code, killedBy, output, isOutputCut, errors } = await outcomeOf(child, command.input, () => {
        isEnded = true;
        // Background processes of a command that was killed go with it.
        if (reason !== undefined && group !== undefined) killGroup(group, "SIGKILL");
      });
      if (reason !== undefined) throw new FlannelError(reason.code, `${reason.message}${lastOf(errors)}`);
      if (killedBy !== null) throw new FlannelError("SIGNAL", `ended by ${killedBy}${lastOf(errors)}`);
      if (code !== 0) throw new FlannelError("EXIT", `exit code ${code}${lastOf(errors)}`);
      if (isOutputCut)
        throw new FlannelError("EMSGSIZE", `it printed more than ${MAX_OUTPUT_BYTES / 1024} KiB`);
      return textOf(output);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      if (group !== undefined) groups.delete(group);
    }
  };
}

const stopping = (): FlannelError => new FlannelError("ECANCELED", "flanneld is stopping");

function start({ text }: ShellCommand, env: NodeJS.ProcessEnv, netns: string | undefined): ChildProcess {
  // A session of its own is a process group of its own.
  const run = () => spawn("sh", ["-c", text], { stdio: "pipe", detached: true, env });
  try {
    return netns === undefined ? run() : withNetns(netns, run);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "EINVAL";
    throw new FlannelError(code, `failed to start sh: ${messageOf(error)}`, { cause: error });
  }
}

interface Outcome {
  readonly code: number | null;
  readonly killedBy: NodeJS.Signals | null;
  readonly output: Buffer;
  /** Whether it printed more than is kept. */
  readonly isOutputCut: boolean;
  readonly errors: Buffer;
}

/** Waits for the shell's end. Everything that it prints is read, so that it never waits for a reader. */
function outcomeOf(child: ChildProcess, input: string, onExit: () => void): Promise<Outcome> {
  const output: Buffer[] = [];
  let outputBytes = 0;
  let errors: Buffer = Buffer.alloc(0);
  child.stdout!.on("data", (piece: Buffer) => {
    if (outputBytes < MAX_OUTPUT_BYTES) output.push(piece);
    outputBytes += piece.length;
  });
  child.stderr!.on("data", (piece: Buffer) => {
    errors = Buffer.concat([errors, piece]).subarray(-MAX_ERROR_BYTES);
  });
  child.stdin!.on("error", () => {}); // it ended without reading: the exit code decides
  child.stdin!.end(input);
  return new Promise((resolve, reject) => {
    child.on("error", (error: NodeJS.ErrnoException) =>
      reject(new FlannelError(error.code ?? "EIO", `failed to start sh: ${error.message}`)),
    );
    child.on("exit", () => {
      onExit();
      setTimeout(() => {
        child.stdout!.destroy();
        child.stderr!.destroy();
      }, OUTPUT_MS).unref();
    });
    child.on("close", (code, killedBy) =>
      resolve({
        ...{ code, killedBy, errors },
        output: Buffer.concat(output).subarray(0, MAX_OUTPUT_BYTES),
        isOutputCut: outputBytes > MAX_OUTPUT_BYTES,
      }),
    );
  });
}

function textOf(output: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(output).trim();
  } catch {
    throw new FlannelError("EILSEQ", "what it printed is not UTF-8");
  }
}

/** The end of standard error, as one line. */
function lastOf(errors: Buffer): string {
  const text = errors.toString("utf8").trim();
  if (text === "") return "";
  const end = text.split("\n").slice(-3).join("; ");
  return `: ${printable(end.length > MAX_ERROR_LENGTH ? `…${end.slice(-MAX_ERROR_LENGTH)}` : end)}`;
}

/** Signals all processes of a group; it may have ended. */
function killGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // none of them exists any more
  }
}
