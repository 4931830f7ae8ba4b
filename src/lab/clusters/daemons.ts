/** The flannelds of a lab: their command line, and when they, or any daemon, are ready. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { FlannelError, isNotFound } from "../../base/error.ts";
import { makeDirectory } from "../../base/make-directory.ts";
import { sleep, systemTimers } from "../../base/timers.ts";
import { parseSubnetEnv } from "../../config/subnet-env.ts";
import { type ContainerNetwork, containerNetwork } from "../plan/container-network.ts";
import type { Host } from "../plan/topology.ts";
import { isAlive, type ProcessId, startDaemon } from "../record/lab-processes.ts";
import type { LabSetup } from "../record/lab-state.ts";
import type { Cluster } from "./cluster.ts";
import { excerptOf, hasError } from "./log-excerpt.ts";

/** For one daemon. A busy machine takes its time; a healthy lab needs a second. */
const READY_MS = 60_000;
/** For a daemon that has logged an error: it retries, but in a lab no operator will fix the cause. */
const ERROR_READY_MS = 2000;
const LOOK_MS = 10;

/** Starts flanneld on a host, which finds its interface by the default route, as on a real one. */
export function startFlanneld(
  { flanneld, flanneldFlags }: LabSetup,
  host: Host,
  cluster: Cluster,
): ProcessId {
  makeDirectory(host.directory);
  const settings = cluster.flanneldSettings(host);
  // Hosts of a lab share /run, and would share a key and a charon.
  const environment = {
    ...settings.environment,
    WIREGUARD_KEY_FILE: join(host.directory, "wgkey"),
    CHARON_VICI_SOCKET: join(host.directory, "charon", "charon.vici"),
  };
  const args = [...settings.flags, `--subnet-file=${host.subnetFile}`, ...flanneldFlags];
  return startDaemon({ netns: host.netns, program: flanneld, args, logFile: host.logFile, environment });
}

/** Waits for the host's subnet. Throws FlannelError with the end of flanneld's log. */
export const waitForSubnet = (
  host: Host,
  flanneld: ProcessId,
  signal: AbortSignal,
): Promise<ContainerNetwork> =>
  waitForDaemon(`flanneld on ${host.name}`, flanneld, host.logFile, () => readSubnet(host), signal);

/** Waits until flanneld says that the host is ready: in a cloud its route comes after its subnet. Throws FlannelError. */
export const waitForReady = (host: Host, flanneld: ProcessId, signal: AbortSignal): Promise<true> =>
  waitForDaemon(
    `flanneld on ${host.name}`,
    flanneld,
    host.logFile,
    () => (readIfThere(host.logFile)?.includes("] flanneld is ready: ") ? true : undefined),
    signal,
  );

/** What the host got; undefined as long as it has nothing. */
export function readSubnet(host: Host): ContainerNetwork | undefined {
  const text = readIfThere(host.subnetFile);
  return text === undefined ? undefined : containerNetwork(parseSubnetEnv(text));
}

/**
 * Looks until there is something; throws FlannelError with the end of its log if the daemon ends, or the time is over,
 * and the reason of `signal` when that aborts.
 */
export async function waitForDaemon<T>(
  name: string,
  daemon: ProcessId,
  logFile: string,
  look: () => T | undefined,
  signal: AbortSignal,
): Promise<T> {
  const startedMs = systemTimers.nowMs();
  for (;;) {
    signal.throwIfAborted();
    const wasAlive = isAlive(daemon);
    const found = look();
    if (found !== undefined) return found;
    const log = readIfThere(logFile) ?? "";
    if (!wasAlive) throw new FlannelError("EXIT", `${name} exited:${indented(log)}`);
    const elapsedMs = systemTimers.nowMs() - startedMs;
    if (elapsedMs > (hasError(log) ? ERROR_READY_MS : READY_MS)) {
      const seconds = Math.round(elapsedMs / 1000);
      throw new FlannelError("ETIMEDOUT", `${name} is not ready after ${seconds} s:${indented(log)}`);
    }
    await sleep(systemTimers, LOOK_MS, signal);
  }
}

const indented = (log: string): string =>
  excerptOf(log)
    .map((line) => `\n  ${line}`)
    .join("");

/** Whether the process's namespace has a TCP socket in state LISTEN (0A) on the port (proc_pid_net(5)). */
export function listensOn(pid: number, port: number): boolean {
  const hexPort = port.toString(16).toUpperCase().padStart(4, "0");
  const listening = new RegExp(`:${hexPort} \\S+ 0A `);
  return ["tcp", "tcp6"].some((table) => listening.test(readIfThere(`/proc/${pid}/net/${table}`) ?? ""));
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
