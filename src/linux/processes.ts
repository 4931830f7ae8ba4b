/** Running processes, and which of them has a netlink socket open (proc(5)). Every answer may be outdated at once. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { hasCode, isNotFound } from "../base/error.ts";

/** PID_MAX_LIMIT (linux/threads.h). Above it are the random port ids of second sockets. */
const PID_LIMIT = 2 ** 22;
/** The first pid namespace, by PROC_PID_INIT_INO (linux/proc_ns.h): a process in it sees the processes of all others. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";
/** Of the field `flags` in /proc/PID/stat (linux/sched.h): a kernel thread. */
const PF_KTHREAD = 0x00200000;

/**
 * The process that has, or had, the rtnetlink socket with this port id in this network namespace: "NetworkManager (pid 812)".
 * The port id of a process's first such socket is its pid, in its own pid namespace (netlink(7)); of a closed socket that
 * is all that is known. Undefined = the port id is no pid either.
 *
 * Without CAP_SYS_PTRACE processes with more capabilities cannot be inspected, and a container does not see all processes:
 * a process that is not found has not necessarily ended.
 */
export function netlinkSocketOwner(portId: number): string | undefined {
  const inode = socketInode(portId);
  if (inode !== undefined) {
    const pid = [portId, ...pids()].find((candidate) => hasSocket(candidate, inode));
    const name = pid === undefined ? undefined : processName(pid);
    if (name !== undefined) return `${name} (pid ${pid})`;
  }
  const isOpen = inode !== undefined && socketInode(portId) === inode;
  if (portId >= PID_LIMIT) return isOpen ? "a process that cannot be seen from here" : undefined;
  const mayBeIts = portId !== process.pid && (!isOpen || hasSocket(portId, inode) === undefined);
  const name = mayBeIts ? processName(portId) : undefined;
  if (name !== undefined) return `${name} (pid ${portId}, probably)`;
  return `a process that ${isOpen ? "cannot be seen from here" : fateOf(portId)} (pid ${portId})`;
}

/** Why a process is not found, as the end of "a process that …". */
function fateOf(pid: number): string {
  if (linkTarget("/proc/self/ns/pid") !== FIRST_PID_NAMESPACE) return "has ended or cannot be seen from here";
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (hasCode(error, "ESRCH")) return "has ended";
  }
  return "cannot be seen from here"; // /proc is mounted with hidepid
}

/** Undefined if it has ended, or is a kernel thread: those use no such sockets. */
function processName(pid: number): string | undefined {
  try {
    // "812 (NetworkManager) S 1 812 812 0 -1 4194560 …"
    const [, name, fields = ""] =
      /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return Number(fields.split(" ")[6]) & PF_KTHREAD ? undefined : name;
  } catch {
    return undefined;
  }
}

/** Columns of /proc/net/netlink: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode. */
function socketInode(portId: number): string | undefined {
  const rows = readFileSync("/proc/thread-self/net/netlink", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/));
  return rows.find((row) => row[1] === "0" && row[2] === String(portId))?.[9];
}

/** Undefined = it exists but cannot be inspected: its directory or the links in it belong to another user. */
function hasSocket(pid: number, inode: string): boolean | undefined {
  try {
    const directory = `/proc/${pid}/fd`;
    return readdirSync(directory).some((fd) => targetOf(`${directory}/${fd}`) === `socket:[${inode}]`);
  } catch (error) {
    return hasCode(error, "EACCES") ? undefined : false; // otherwise it has ended
  }
}

/** A process of some program. */
export interface ProcessEntry {
  readonly pid: number;
  /** Its arguments, the program's own name first; empty for kernel threads. */
  readonly args: readonly string[];
}

/** The processes in this network namespace, except this one. */
export function processesOfThisNetns(): ProcessEntry[] {
  const own = linkTarget("/proc/self/ns/net");
  return pids()
    .filter((pid) => pid !== process.pid && linkTarget(`/proc/${pid}/ns/net`) === own)
    .map((pid) => ({ pid, args: argumentsOf(pid) }));
}

function argumentsOf(pid: number): string[] {
  try {
    // A process that has given itself a shorter title leaves zeros behind it.
    const text = readFileSync(`/proc/${pid}/cmdline`, "utf8").replace(/\0+$/, "");
    return text === "" ? [] : text.split("\0");
  } catch {
    return [];
  }
}

const pids = (): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

/** Undefined also if it may not be read. */
function linkTarget(path: string): string | undefined {
  try {
    return targetOf(path);
  } catch {
    return undefined;
  }
}

/** Undefined = the link no longer exists. */
function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
