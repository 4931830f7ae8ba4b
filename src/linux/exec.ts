/** Running other programs to their end: nft, iptables, charon's tools, hooks. */

import { type ChildProcess, spawn } from "node:child_process";
import { FlannelError } from "../base/error.ts";
import { withNetns } from "./netns.ts";

export interface ExecOptions {
  /** Written to its standard input, which is empty otherwise. */
  readonly input?: string;
  /** After this time it is killed. Default 30 s. */
  readonly timeoutMs?: number;
  /** Its whole environment; default ours. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Path of the network namespace it runs in. */
  readonly netns?: string | undefined;
}

export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  /** The process id that it had. */
  readonly pid?: number | undefined;
}

/** A program could not be run, or failed. `code`: "ENOENT" (not installed), "EACCES", "ETIMEDOUT", "EXIT", "SIGNAL"…. */
export class ExecError extends FlannelError {
  /** Undefined if it did not come to an exit. */
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  constructor(code: string, message: string, output: ExecResult, exitCode?: number) {
    super(code, message);
    this.exitCode = exitCode;
    this.stdout = output.stdout;
    this.stderr = output.stderr;
  }
}

/** Runs a program without a shell and gives back what it printed. Rejects with ExecError unless it exits with 0. */
export async function exec(
  program: string,
  args: readonly string[] = [],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const { netns, timeoutMs = 30_000, env } = options;
  const start = (): ChildProcess =>
    spawn(program, args, { stdio: "pipe", ...(env === undefined ? {} : { env }) });
  const output = { stdout: "", stderr: "" };
  return new Promise((resolve, reject) => {
    const fail = (code: string, what: string, exitCode?: number): void =>
      reject(new ExecError(code, `${program}: ${what}${lastLines(output.stderr)}`, output, exitCode));
    const child = netns === undefined ? start() : withNetns(netns, start);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
      child.stdout?.destroy(); // children of its own may live on and hold these
      child.stderr?.destroy();
    }, timeoutMs);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      output.stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      output.stderr += text;
    });
    child.stdin?.on("error", () => {}); // it ended without reading: its exit code tells
    child.stdin?.end(options.input ?? "");
    child.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      if (error.code === "ENOENT") fail("ENOENT", "not found: install it, or put its directory in PATH");
      else fail(error.code ?? "EIO", `cannot be run: ${error.message}`);
    });
    child.on("close", (exitCode, signal) => {
      clearTimeout(timer);
      if (timedOut) fail("ETIMEDOUT", `killed after ${timeoutMs} ms`);
      else if (signal !== null) fail("SIGNAL", `ended by ${signal}`);
      else if (exitCode !== 0) fail("EXIT", `exit code ${exitCode}`, exitCode ?? undefined);
      else resolve({ ...output, pid: child.pid });
    });
  });
}

/** As {@link exec}, for callers to whom any exit code is a result; 128 + 9 if it had to be killed after 30 s. */
export async function runCommand(
  program: string,
  args: readonly string[],
  input?: string,
): Promise<ExecResult & { readonly code: number }> {
  try {
    return { code: 0, ...(await exec(program, args, input === undefined ? {} : { input })) };
  } catch (error) {
    if (!(error instanceof ExecError) || !["EXIT", "SIGNAL", "ETIMEDOUT"].includes(error.code)) throw error;
    const { stdout, stderr, message } = error;
    return { code: error.exitCode ?? 137, stdout, stderr: stderr === "" ? message : stderr };
  }
}

/** The end of what a failing program said, in one line. */
function lastLines(stderr: string): string {
  const text = stderr.trim().split("\n").slice(-3).join("; ");
  return text === "" ? "" : `: ${text}`;
}
