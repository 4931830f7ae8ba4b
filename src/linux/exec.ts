/** Runs other programs until they exit: nft, iptables, hooks. */

import { type ChildProcess, spawn } from "node:child_process";
import { FlannelError } from "../base/error.ts";
import { withNetns } from "./netns.ts";

export interface ExecOptions {
  /** Its standard input; default empty. */
  readonly input?: string;
  /** It is killed after this time. Default 30 s. */
  readonly timeoutMs?: number;
  /** Its whole environment; default that of this process. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Path of the network namespace it runs in. */
  readonly netns?: string | undefined;
}

export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Its process id. */
  readonly pid?: number | undefined;
}

/** A program failed, or failed to start. `code`: "ENOENT" (not installed), "EACCES", "ETIMEDOUT", "EXIT", "SIGNAL"…. */
export class ExecError extends FlannelError {
  /** Undefined if it did not exit by itself. */
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

/** Runs a program without a shell; its output. Rejects with ExecError unless it exits with 0. */
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
      child.stdout?.destroy(); // its own children may still hold these open
      child.stderr?.destroy();
    }, timeoutMs);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      output.stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      output.stderr += text;
    });
    child.stdin?.on("error", () => {}); // it ended without reading: the exit code decides
    child.stdin?.end(options.input ?? "");
    child.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      if (error.code === "ENOENT") fail("ENOENT", "not found: install it, or put its directory in PATH");
      else fail(error.code ?? "EIO", `failed to start: ${error.message}`);
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

/** As {@link exec}, but any exit code is a result; 137 (128 + SIGKILL) if it was killed after 30 s. */
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

/** The last lines of stderr, as one line. */
function lastLines(stderr: string): string {
  const text = stderr.trim().split("\n").slice(-3).join("; ");
  return text === "" ? "" : `: ${text}`;
}
