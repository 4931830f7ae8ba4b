/** Metrics of this process, with the names that all of Prometheus' client libraries use. */

import { readdirSync } from "node:fs";
import { type Metric, single } from "./metrics-text.ts";

/** Wall-clock time of the start in ms since the epoch. */
export const PROCESS_START_MS = Date.now() - Math.round(process.uptime() * 1_000);

/** CPU seconds, resident bytes, start time and open files of this process. */
export function processMetrics(): Metric[] {
  const { user, system } = process.cpuUsage();
  return [
    single(
      "counter",
      "process_cpu_seconds_total",
      "Total user and system CPU time spent in seconds.",
      (user + system) / 1e6,
    ),
    single(
      "gauge",
      "process_resident_memory_bytes",
      "Resident memory size in bytes.",
      process.memoryUsage.rss(),
    ),
    single(
      "gauge",
      "process_start_time_seconds",
      "Start time of the process since unix epoch in seconds.",
      PROCESS_START_MS / 1_000,
    ),
    single("gauge", "process_open_fds", "Number of open file descriptors.", openDescriptors()),
  ];
}

/** One of them is the directory that is read. */
const openDescriptors = (): number => readdirSync("/proc/self/fd").length - 1;
