/**
 * Processes of a lab: started inside a network namespace, found again later, ended without ever hitting another.
 * See proc(5) for the files.
 */

import { spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { FlannelError, hasCode } from "../../base/error.ts";
import { sleep, systemTimers } from "../../base/timers.ts";
import { netnsPath, withNetns } from "../../linux/netns.ts";

/** A process for good: pids are used again, a pid together with the start time is not. */
export interface ProcessId {
  readonly pid: number;
  /** Clock ticks after boot: field 22 of /proc/PID/stat. */
  readonly startTicks: number;
}

/** The process that has the pid now; undefined if there is none, or only its zombie. */
export function identify(pid: number): ProcessId | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // "pid (name) state …": the name may hold anything, blanks and brackets too.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : { pid, startTicks: Number(fields[19]) };
}

export const isAlive = (process: ProcessId): boolean =>
  identify(process.pid)?.startTicks === process.startTicks;

export interface DaemonSpec {
  /** Name of the network namespace. */
  readonly netns: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Its output goes to the end of it. */
  readonly logFile: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/**
 * Starts a daemon in a session of its own. Our environment is not passed on but for PATH: variables like ETCD_NAME and
 * FLANNELD_IFACE would reach into the lab. Throws FlannelError if it fails to start.
 */
export function startDaemon({ netns, program, args, logFile, environment }: DaemonSpec): ProcessId {
  const log = openSync(logFile, "a", 0o644);
  try {
    // The child is born where the calling thread is: there is no moment when it is outside.
    const child = withNetns(netnsPath(netns), () =>
      spawn(program, args, {
        detached: true,
        stdio: ["ignore", log, log],
        cwd: "/",
        env: { PATH: process.env.PATH, ...environment },
      }),
    );
    child.on("error", () => {}); // there is no pid then
    child.unref();
    const id = child.pid === undefined ? undefined : identify(child.pid);
    if (id === undefined) throw new FlannelError("ENOEXEC", `failed to start ${program}`);
    return id;
  } finally {
    closeSync(log);
  }
}

/** The processes in any of the named namespaces. */
export function processesIn(netnsNames: readonly string[]): ProcessId[] {
  const own = inodeOf("/proc/self/ns/net");
  const wanted = new Set(netnsNames.map((name) => inodeOf(netnsPath(name))));
  // A lab's name that was bound to the machine's own namespace must not end the machine's processes.
  for (const none of [own, undefined]) wanted.delete(none);
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && wanted.has(inodeOf(`/proc/${name}/ns/net`)))
    .map((name) => identify(Number(name)))
    .filter((id) => id !== undefined);
}

/** Those of both lists, each once. */
export function union(a: readonly ProcessId[], b: readonly ProcessId[]): ProcessId[] {
  return [...new Map([...a, ...b].map((process) => [process.pid, process])).values()];
}

/** Device and inode identify a namespace (namespaces(7)). Undefined if the path does not exist or is not accessible. */
function inodeOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** How long a process has to end by itself after SIGTERM. */
const TERM_MS = 5000;
/** How long the kernel has to end it after SIGKILL. */
const KILL_MS = 5000;
const LOOK_MS = 10;

/**
 * Ends all processes that `find` gives, as long as it gives any: SIGTERM, after `termMs` SIGKILL. Throws
 * FlannelError if one survives even that.
 */
export async function endProcesses(find: () => readonly ProcessId[], termMs = TERM_MS): Promise<void> {
  const startedMs = systemTimers.nowMs();
  const signalled = new Set<string>();
  for (;;) {
    const alive = find();
    if (alive.length === 0) return;
    const elapsedMs = systemTimers.nowMs() - startedMs;
    if (elapsedMs > termMs + KILL_MS) {
      throw new FlannelError(
        "EBUSY",
        `cannot end ${alive.map(({ pid }) => `process ${pid}`).join(", ")}: see what keeps it, then try again`,
      );
    }
    const signal = elapsedMs < termMs ? "SIGTERM" : "SIGKILL";
    for (const { pid, startTicks } of alive) {
      const key = `${signal} ${pid} ${startTicks}`;
      if (!signalled.has(key)) send(pid, signal);
      signalled.add(key);
    }
    await sleep(systemTimers, LOOK_MS);
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!hasCode(error, "ESRCH")) throw error;
  }
}
