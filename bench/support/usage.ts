/** What a process takes of the machine (proc(5)). */

import { readdirSync, readFileSync } from "node:fs";

/** Resident memory in MB (10^6 bytes). */
export function residentMb(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1];
  return (Number(kib) * 1024) / 1e6;
}

/** The part of it that is the process's own: without pages of files (programs, libraries), which all share. MB. */
export function privateMb(pid: number): number {
  const kib = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1];
  return (Number(kib) * 1024) / 1e6;
}

/**
 * Processor time of all its threads so far, in ms, to the nanosecond (Documentation/scheduler/sched-stats.rst); threads
 * that have ended are left out.
 */
export const processorMs = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`)
    .map((thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]))
    .reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e6;
