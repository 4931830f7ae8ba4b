/** A lab's datastore that is an etcd, or speaks as etcd does: the embedded store, or a real one. */

import { FlannelError, hasCode } from "../../base/error.ts";
import { makeDirectory } from "../../base/make-directory.ts";
import { type ExecError, exec } from "../../linux/exec.ts";
import { netnsPath } from "../../linux/netns.ts";
import { type Hub, labDataDirectory, labDirectory, type Topology } from "../plan/topology.ts";
import { startDaemon } from "../record/lab-processes.ts";
import type { Cluster } from "./cluster.ts";
import { listensOn, readSubnet, waitForDaemon } from "./daemons.ts";

const PORT = 2379;
const COMMAND_MS = 20_000;

export interface EtcdClusterOptions {
  readonly kind: "store" | "etcd";
  readonly topology: Topology;
  /** Path of the program that serves the embedded store, and does in either what an operator would. */
  readonly flannelctl: string;
}

export function etcdCluster({ kind, topology, flannelctl }: EtcdClusterOptions): Cluster {
  const { name, hub } = topology;
  const endpoint = `http://${listenAddressOf(hub)}`;
  const logFile = `${labDirectory(name)}/${kind}.log`;
  /** Runs flannelctl in the hub, as a user would. */
  const administer = async (what: string, args: readonly string[], input = ""): Promise<void> => {
    const env = { PATH: process.env.PATH };
    const options = { netns: netnsPath(hub.netns), input, timeoutMs: COMMAND_MS, env };
    try {
      await exec(flannelctl, [...args, `--etcd-endpoints=${endpoint}`], options);
    } catch (error) {
      if (!hasCode(error, "EXIT")) throw error;
      const reasons = (error as ExecError).stderr
        .trim()
        .split("\n")
        .map((line) => line.replace(/^flannelctl: /, ""));
      throw new FlannelError("EXIT", `failed to ${what}: ${reasons.join("\n  ")}`, { cause: error });
    }
  };

  return {
    async create(networkConfig, onStart, signal) {
      // Not in `labDirectory`: etcd reserves 128 MB at once.
      const dataDirectory = labDataDirectory(name);
      makeDirectory(dataDirectory, 0o700);
      const [program, args] =
        kind === "etcd"
          ? (["etcd", etcdArgs(endpoint, dataDirectory)] as const)
          : ([flannelctl, storeArgs(hub, dataDirectory)] as const);
      const datastore = startDaemon({ netns: hub.netns, program, args, logFile });
      await onStart(datastore, kind);
      const isListening = (): true | undefined => (listensOn(datastore.pid, PORT) ? true : undefined);
      await waitForDaemon(kind, datastore, logFile, isListening, signal);
      // As standard input: a config may hold a secret, and command lines can be seen by everyone.
      await administer("write the network config", ["config", "set", "-"], networkConfig);
    },
    flanneldSettings: () => ({ flags: [`--etcd-endpoints=${endpoint}`], environment: {} }),
    async forget(host) {
      const subnet = readSubnet(host)?.families[0]?.prefixAt(0);
      if (subnet === undefined) return; // it never had any
      await administer(`release the subnet of ${host.name}`, ["leases", "release", subnet, "--yes"]);
    },
  };
}

const storeArgs = (hub: Hub, directory: string): string[] => [
  "store",
  "serve",
  `--listen=${listenAddressOf(hub)},127.0.0.1:${PORT}`,
  `--data-dir=${directory}/store`,
];

function etcdArgs(endpoint: string, directory: string): string[] {
  const peerUrl = "http://127.0.0.1:2380";
  return [
    "--name=lab",
    `--data-dir=${directory}/etcd`,
    `--listen-client-urls=${endpoint},http://127.0.0.1:${PORT}`,
    `--advertise-client-urls=${endpoint}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=lab=${peerUrl}`,
  ];
}

function listenAddressOf({ addresses }: Hub): string {
  const { family, address } = addresses[0]!;
  return family === 4 ? `${address}:${PORT}` : `[${address}]:${PORT}`;
}
