/** Which processes there are, and which of them holds a netlink socket (proc(5)). All of it may be out of date at once. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Name of a process ("NetworkManager"); undefined if it has ended. */
export function processName(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return undefined;
  }
}

/**
 * Who holds the rtnetlink socket with this port id, in this network namespace: "NetworkManager (pid 812)". The first such
 * socket of a process has its pid for port id (netlink(7)), which is all that is left when it has ended.
 */
export function netlinkSocketOwner(portId: number): string | undefined {
  const inode = socketInode(portId);
  if (inode !== undefined) {
    const pid = [portId, ...pids()].find((candidate) => holdsSocket(candidate, inode));
    const name = pid === undefined ? undefined : processName(pid);
    if (name !== undefined) return `${name} (pid ${pid})`;
  }
  return portId < PID_LIMIT ? `a process that has ended (pid ${portId})` : undefined;
}

/** PID_MAX_LIMIT (linux/threads.h). Above it are the random port ids of second sockets. */
const PID_LIMIT = 2 ** 22;

/** Columns of /proc/net/netlink: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode. */
function socketInode(portId: number): string | undefined {
  const rows = readFileSync("/proc/thread-self/net/netlink", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/));
  return rows.find((row) => row[1] === "0" && row[2] === String(portId))?.[9];
}

function holdsSocket(pid: number, inode: string): boolean {
  try {
    const directory = `/proc/${pid}/fd`;
    return readdirSync(directory).some((fd) => linkTarget(`${directory}/${fd}`) === `socket:[${inode}]`);
  } catch {
    return false; // ended
  }
}

/** A process of some program. */
export interface ProcessEntry {
  readonly pid: number;
  /** Its arguments, the program's own name first; empty for kernel threads. */
  readonly args: readonly string[];
}

/** The processes in this network namespace, without this one. */
export function processesOfThisNetns(): ProcessEntry[] {
  const own = linkTarget("/proc/self/ns/net");
  return pids()
    .filter((pid) => pid !== process.pid && linkTarget(`/proc/${pid}/ns/net`) === own)
    .map((pid) => ({ pid, args: argumentsOf(pid) }));
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
  } catch {
    return [];
  }
}

const pids = (): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
