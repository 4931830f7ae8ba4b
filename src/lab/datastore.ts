/** The datastore of a lab, in the hub, where all hosts reach it: the embedded store, or a real etcd. */

import { mkdirSync } from "node:fs";
import { FlannelError, hasCode } from "../base/error.ts";
import { type ExecError, exec } from "../linux/exec.ts";
import { netnsPath } from "../linux/netns.ts";
import { listensOn, waitForDaemon } from "./daemons.ts";
import { type ProcessId, startDaemon } from "./processes.ts";
import type { DatastoreKind } from "./state.ts";
import { type Hub, labDataDirectory, labDirectory, type Topology } from "./topology.ts";

const PORT = 2379;
const WRITE_MS = 20_000;

/** Where the hosts find it: "http://192.168.64.1:2379". */
export const endpointOf = ({ addresses }: Hub): string => `http://${listenAddressOf(addresses[0]!)}`;

export interface DatastoreSpec {
  readonly kind: DatastoreKind;
  readonly topology: Topology;
  /** Path of the program that serves the embedded store, and writes the config into either. */
  readonly flannelctl: string;
}

/** Starts it. Its files are not in `labDirectory`: etcd reserves 128 MB at once. Throws FlannelError. */
export function startDatastore({ kind, topology: { name, hub }, flannelctl }: DatastoreSpec): ProcessId {
  const dataDirectory = labDataDirectory(name);
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 });
  const [program, args] =
    kind === "etcd"
      ? (["etcd", etcdArgs(hub, dataDirectory)] as const)
      : [flannelctl, storeArgs(hub, dataDirectory)];
  return startDaemon(hub.netns, program, args, logFileOf(kind, name));
}

/**
 * Puts the network config into it as soon as it answers, as a user would. Throws FlannelError, also if the config is
 * no good.
 */
export async function writeNetworkConfig(
  { kind, topology: { name, hub }, flannelctl }: DatastoreSpec,
  datastore: ProcessId,
  json: string,
  signal: AbortSignal,
): Promise<void> {
  const isListening = (): true | undefined => (listensOn(datastore.pid, PORT) ? true : undefined);
  await waitForDaemon(kind, datastore, logFileOf(kind, name), isListening, signal);
  // As standard input: a config may hold a secret, and command lines can be seen by everyone.
  const args = ["config", "set", "-", `--etcd-endpoints=${endpointOf(hub)}`];
  const env = { PATH: process.env.PATH };
  try {
    await exec(flannelctl, args, { netns: netnsPath(hub.netns), input: json, timeoutMs: WRITE_MS, env });
  } catch (error) {
    if (!hasCode(error, "EXIT")) throw error;
    const reasons = (error as ExecError).stderr
      .trim()
      .split("\n")
      .map((line) => line.replace(/^flannelctl: /, ""));
    throw new FlannelError("EXIT", `cannot write the network config: ${reasons.join("\n  ")}`, {
      cause: error,
    });
  }
}

const storeArgs = (hub: Hub, directory: string): string[] => [
  "store",
  "serve",
  `--listen=${listenAddressOf(hub.addresses[0]!)},127.0.0.1:${PORT}`,
  `--data-dir=${directory}/store`,
];

function etcdArgs(hub: Hub, directory: string): string[] {
  const peerUrl = "http://127.0.0.1:2380";
  return [
    "--name=lab",
    `--data-dir=${directory}/etcd`,
    `--listen-client-urls=${endpointOf(hub)},http://127.0.0.1:${PORT}`,
    `--advertise-client-urls=${endpointOf(hub)}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=lab=${peerUrl}`,
  ];
}

const listenAddressOf = ({ family, address }: Hub["addresses"][number]): string =>
  family === 4 ? `${address}:${PORT}` : `[${address}]:${PORT}`;

const logFileOf = (kind: DatastoreKind, labName: string): string => `${labDirectory(labName)}/${kind}.log`;
