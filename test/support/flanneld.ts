/** The real flanneld, as hosts have it, in a network namespace: its log, its end, its health. Killed when the test ends. */

import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import { parseSubnetEnv } from "../../src/config/subnet-env.ts";
import type { TestNetns } from "../netns/support.ts";
import { FLANNELD } from "./programs.ts";
import { NOTHING, type ServiceManager } from "./service-manager.ts";
import type { TestHost } from "./underlay.ts";
import { until } from "./until.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface FlanneldOptions {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A command before flanneld's that ends by exec: `["setpriv", "--reuid=65534", …]`. */
  readonly through?: readonly string[];
  /** Under systemd, as it were. */
  readonly manager?: ServiceManager;
}

export interface Flanneld {
  readonly pid: number;
  /** What it wrote to stdout and stderr, by lines. */
  readonly lines: readonly string[];
  readonly exit: Promise<Exit>;
  /** All lines in one text. */
  log(): string;
  /** Waits until a line matches, counting from line number `from`. */
  logged(
    pattern: RegExp,
    options?: { readonly from?: number; readonly deadlineMs?: number },
  ): Promise<string>;
  /** Waits until `condition` holds; the log is part of the failure. */
  until(condition: () => boolean | Promise<boolean>, what: string, deadlineMs?: number): Promise<void>;
  /** Sends the signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Exit & { readonly tookMs: number }>;
}

/** Starts flanneld in `netns` with exactly these flags. */
export function spawnFlanneld(t: TestContext, netns: TestNetns, options: FlanneldOptions): Flanneld {
  const { env, fds, through } = options.manager?.handOver() ?? NOTHING;
  const [command, ...args] = [
    ...["nsenter", `--net=${netns.path}`],
    ...through,
    ...(options.through ?? []),
    FLANNELD,
    ...options.args,
  ] as [string, ...string[]];
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, ...env, ...options.env },
    stdio: ["ignore", "pipe", "pipe", ...fds],
  });
  const lines: string[] = [];
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface({ input: stream }).on("line", (line) => lines.push(line));
  }
  // "close", not "exit": only then everything it wrote has been read.
  const exit = once(child, "close").then(([code, signal]): Exit => ({ code, signal }));
  endWith(t, child, exit, lines);
  const log = () => lines.join("\n");
  let hasEnded = false;
  void exit.then(() => {
    hasEnded = true;
  });
  const untilOrLog: Flanneld["until"] = async (condition, what, deadlineMs) => {
    const holdsOrEnded = async () => {
      const ended = hasEnded;
      if (await condition()) return true;
      if (ended) throw new Error(`flanneld ended before ${what}`);
      return false;
    };
    try {
      await until(holdsOrEnded, what, deadlineMs);
    } catch (error) {
      throw new Error(`${error}\nflanneld ${options.args.join(" ")} said:\n${log()}`);
    }
  };
  return {
    pid: child.pid!,
    lines,
    exit,
    log,
    until: untilOrLog,
    async logged(pattern, { from = 0, deadlineMs } = {}) {
      const find = () => lines.slice(from).find((line) => pattern.test(line));
      await untilOrLog(() => find() !== undefined, `a line like ${pattern}`, deadlineMs);
      return find()!;
    },
    async stop(signal = "SIGTERM") {
      const startedMs = performance.now();
      child.kill(signal);
      return { ...(await exit), tookMs: performance.now() - startedMs };
    },
  };
}

/** Starts flanneld on a host with what every host needs. */
export const startFlanneld = (
  t: TestContext,
  host: TestHost,
  { args = [], ...rest }: Partial<FlanneldOptions> = {},
): Flanneld =>
  spawnFlanneld(t, host, {
    args: [`--etcd-endpoints=${host.etcdEndpoint}`, `--subnet-file=${host.subnetFile}`, ...args],
    ...rest,
  });

/** Starts flanneld on a host and waits until it is ready; gives what subnet.env says. */
export async function readyFlanneld(t: TestContext, host: TestHost, options: Partial<FlanneldOptions> = {}) {
  const flanneld = startFlanneld(t, host, options);
  await flanneld.logged(/flanneld is ready/);
  return { flanneld, ...readSubnetFile(host) };
}

/** FLANNEL_SUBNET and FLANNEL_MTU of a host. */
export function readSubnetFile(host: TestHost): { readonly subnet: string; readonly mtuBytes: number } {
  const text = readFileSync(host.subnetFile, "utf8");
  const { mtuBytes } = parseSubnetEnv(text);
  const subnet = /^FLANNEL_SUBNET=(.+)$/m.exec(text)?.[1];
  if (subnet === undefined || mtuBytes === undefined) throw new Error(`not a subnet.env:\n${text}`);
  return { subnet, mtuBytes };
}

/** The answer of the health server inside the namespace; undefined if there is none. */
export async function askHealth(
  netns: TestNetns,
  port: number,
  path: string,
): Promise<{ readonly status: number; readonly body: string } | undefined> {
  const script = `exec 3<>/dev/tcp/127.0.0.1/${port} && printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3`;
  try {
    const { stdout } = await promisify(execFile)("nsenter", [`--net=${netns.path}`, "bash", "-c", script]);
    const [head, body = ""] = stdout.split("\r\n\r\n");
    return { status: Number(head!.split(" ")[1]), body };
  } catch {
    return undefined;
  }
}

/** Ends the process with the test, and with this process, however that ends. No flanneld ever shows a stack trace. */
function endWith(
  t: TestContext,
  child: ChildProcess,
  exit: Promise<unknown>,
  lines: readonly string[],
): void {
  const kill = () => void child.kill("SIGKILL");
  process.once("exit", kill);
  t.after(async () => {
    kill();
    await exit;
    process.off("exit", kill);
    assert.ok(!lines.some((line) => /^\s+at |^node:internal/.test(line)), lines.join("\n"));
  });
}
