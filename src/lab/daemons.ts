/** The daemons of a lab: their command lines, and when they are ready. */

import { mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { FlannelError, isNotFound } from "../base/error.ts";
import { sleep, systemTimers } from "../base/timers.ts";
import { parseSubnetEnv } from "../config/subnet-env.ts";
import { exec } from "../linux/exec.ts";
import { netnsPath } from "../linux/netns.ts";
import { type ContainerNetwork, containerNetwork } from "./container-network.ts";
import { excerptOf, hasError } from "./log-excerpt.ts";
import { isAlive, type ProcessId, startDaemon } from "./processes.ts";
import { type Host, type Hub, labDataDirectory, labDirectory } from "./topology.ts";

const ETCD_PORT = 2379;
const CONFIG_KEY = "/coreos.com/network/config";
/** For one daemon. A busy machine takes its time; a healthy lab needs a second. */
const READY_MS = 60_000;
/** For one that has logged an error: it tries on, but in a lab nobody comes to help. */
const ERROR_READY_MS = 2000;
const LOOK_MS = 10;

/** Starts etcd in the hub, where all hosts reach it. Its files are not in `labDirectory`: etcd reserves 128 MB at once. */
export function startEtcd(labName: string, hub: Hub): ProcessId {
  const dataDirectory = labDataDirectory(labName);
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 });
  const peerUrl = "http://127.0.0.1:2380";
  const args = [
    "--name=lab",
    `--data-dir=${dataDirectory}/etcd`,
    `--listen-client-urls=${etcdUrl(hub)},http://127.0.0.1:${ETCD_PORT}`,
    `--advertise-client-urls=${etcdUrl(hub)}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=lab=${peerUrl}`,
  ];
  return startDaemon(hub.netns, "etcd", args, etcdLog(labName));
}

/** Puts the network config into etcd as soon as it answers. Throws FlannelError, ExecError. */
export async function writeNetworkConfig(
  labName: string,
  hub: Hub,
  etcd: ProcessId,
  json: string,
  signal: AbortSignal,
): Promise<void> {
  const isListening = (): true | undefined => (listensOn(etcd.pid, ETCD_PORT) ? true : undefined);
  await waitFor("etcd", etcd, etcdLog(labName), isListening, signal);
  // As standard input: a config may hold a secret, and command lines can be seen by everyone.
  const args = [`--endpoints=${etcdUrl(hub)}`, "--command-timeout=20s", "put", CONFIG_KEY];
  await exec("etcdctl", args, {
    netns: netnsPath(hub.netns),
    input: json,
    env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
  });
}

/** Starts flanneld on a host, which finds its interface by the default route, as on a real one. */
export function startFlanneld(
  program: string,
  host: Host,
  hub: Hub,
  extraFlags: readonly string[],
): ProcessId {
  mkdirSync(dirname(host.logFile), { recursive: true });
  const args = [`--etcd-endpoints=${etcdUrl(hub)}`, `--subnet-file=${host.subnetFile}`, ...extraFlags];
  return startDaemon(host.netns, program, args, host.logFile);
}

/** Waits for the host's subnet. Throws FlannelError with the end of flanneld's log. */
export const waitForSubnet = (
  host: Host,
  flanneld: ProcessId,
  signal: AbortSignal,
): Promise<ContainerNetwork> =>
  waitFor(`flanneld on ${host.name}`, flanneld, host.logFile, () => readSubnet(host), signal);

/** What the host got; undefined as long as it has nothing. */
export function readSubnet(host: Host): ContainerNetwork | undefined {
  const text = readIfThere(host.subnetFile);
  return text === undefined ? undefined : containerNetwork(parseSubnetEnv(text));
}

const etcdUrl = (hub: Hub): string => `http://${hub.address}:${ETCD_PORT}`;
const etcdLog = (labName: string): string => `${labDirectory(labName)}/etcd.log`;

/** Looks until there is something, the daemon ends, the time is over, or `signal` says no. */
async function waitFor<T>(
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
    if (!wasAlive) throw new FlannelError("EXIT", `${name} ended by itself:${indented(log)}`);
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
function listensOn(pid: number, port: number): boolean {
  const hexPort = port.toString(16).toUpperCase().padStart(4, "0");
  return new RegExp(`:${hexPort} \\S+ 0A `).test(readIfThere(`/proc/${pid}/net/tcp`) ?? "");
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
