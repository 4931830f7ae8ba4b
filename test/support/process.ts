/** Programs that run beside a test: output, exit, and clean-up. */

import { type ChildProcess, spawn } from "node:child_process";
import type { Writable } from "node:stream";
import { withNetns } from "../../src/linux/netns.ts";
import { atExit } from "./at-exit.ts";
import { until } from "./until.ts";

const END_DEADLINE_MS = 30_000;
const TAIL_LINES = 20;
const LINE_LENGTH = 500;

export interface ProcessOptions {
  /** Path of the network namespace to run in; by default the test's own. */
  readonly netns?: string;
  /** Its whole environment besides PATH. */
  readonly env?: Readonly<Record<string, string>>;
  /** Takes what comes on stdout, which is then not kept. */
  readonly onStdout?: (chunk: Buffer) => void;
}

/** How a process ended: its exit code, or the signal that ended it. */
export type End = number | NodeJS.Signals;

export class TestProcess implements AsyncDisposable {
  readonly pid: number;
  /** Everything from stdout, as far as it has been read. */
  stdout = "";
  /** Everything from stderr. */
  stderr = "";
  readonly ended: Promise<End>;
  readonly #child: ChildProcess;
  readonly #name: string;
  #end: End | undefined;

  constructor(program: string, args: readonly string[], { netns, env, onStdout }: ProcessOptions = {}) {
    // The kernel kills it with this process, if that ends without exit handlers (PR_SET_PDEATHSIG(2const)).
    const start = () =>
      spawn("setpriv", ["--pdeathsig=KILL", program, ...args], {
        stdio: "pipe",
        env: { PATH: process.env.PATH, ...env },
      });
    const child = netns === undefined ? start() : withNetns(netns, start);
    this.#child = child;
    this.#name = program;
    if (onStdout !== undefined) child.stdout.on("data", onStdout);
    else {
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        this.stdout += text;
      });
    }
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    child.stdin.on("error", () => {}); // it ended without reading all
    const callOff = atExit(() => child.kill("SIGKILL"));
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => {
        callOff();
        this.#end = code ?? signal!;
        resolve(this.#end);
      });
    });
    this.ended.catch(() => {}); // reported where it is awaited
    if (child.pid === undefined) throw new Error("failed to start setpriv (Debian: util-linux)");
    this.pid = child.pid;
  }

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  get stdin(): Writable {
    return this.#child.stdin!;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for a condition that this process causes; fails at once if it exits before. */
  async brings(
    what: string,
    condition: () => boolean | Promise<boolean>,
    deadlineMs?: number,
  ): Promise<void> {
    const isThere = async () => {
      if (await condition()) return true;
      if (this.#end !== undefined) throw new Error(`${this.#name} ended (${this.#end}) before: ${what}`);
      return false;
    };
    try {
      await until(isThere, what, deadlineMs);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.tail()}`, { cause: error });
    }
  }

  /** Asks it to end, and waits until it has. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<End> {
    this.signal(signal);
    await until(() => this.#end !== undefined, `the end of ${this.#name} after ${signal}`, END_DEADLINE_MS);
    return this.ended;
  }

  /** The end of what it said. */
  tail(): string {
    const lines = `${this.stdout}${this.stderr}`.trimEnd().split("\n").slice(-TAIL_LINES);
    return lines.map((line) => line.slice(0, LINE_LENGTH)).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#end === undefined) await this.stop("SIGKILL");
  }
}
