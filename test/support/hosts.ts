/**
 * Hosts for end-to-end tests: network namespaces on a hub's bridge, as the lab makes them, and the programs in them.
 *
 *            hub 192.168.64.1 (etcd)
 *            ┌─────┴─────┐
 *     eth0 .11         eth0 .12
 *           h1           h2
 *
 * Processes, namespaces and files are removed with the test, also if it is interrupted.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parsePrefix } from "../../src/address/prefix.ts";
import { makeHost, makeHub } from "../../src/lab/hosts/lab-links.ts";
import { type Host, type Hub, nodesOf, planTopology } from "../../src/lab/plan/topology.ts";
import { type ExecOptions, exec } from "../../src/linux/exec.ts";
import { deleteNetns, netnsPath } from "../../src/linux/netns.ts";
import { atExit } from "./at-exit.ts";
import { type ProcessOptions, TestProcess } from "./process.ts";

const UNDERLAY = parsePrefix("192.168.64.0/24")!;

/** The hub or a host. */
export class TestHost {
  /** "hub", "h1", "h2". */
  readonly name: string;
  /** Path of its network namespace. */
  readonly netns: string;
  readonly address: string;
  /** For its files. */
  readonly directory: string;
  readonly #processes: AsyncDisposableStack;

  constructor(node: Hub | Host, directory: string, processes: AsyncDisposableStack) {
    this.name = node.name;
    this.netns = netnsPath(node.netns);
    this.address = node.addresses[0]!.address;
    this.directory = join(directory, node.name);
    this.#processes = processes;
    mkdirSync(this.directory);
  }

  /** Runs a program here until it exits; its standard output. Rejects with ExecError unless it succeeds. */
  async run(program: string, args: readonly string[], options: ExecOptions = {}): Promise<string> {
    return (await exec(program, args, { netns: this.netns, ...options })).stdout;
  }

  /** Starts a program here. It is killed with the hosts at the latest. */
  start(program: string, args: readonly string[], options: ProcessOptions = {}): TestProcess {
    return this.#processes.use(new TestProcess(program, args, { netns: this.netns, ...options }));
  }
}

export class TestHosts implements AsyncDisposable {
  readonly hub: TestHost;
  readonly hosts: readonly TestHost[];
  readonly #processes = new AsyncDisposableStack();
  readonly #removeAll: () => void;
  readonly #callOffExit: () => void;

  /** `label` distinguishes the beds of a test process: letters and digits. */
  constructor(label: string, count: number) {
    const shape = { hosts: count, segments: 1, underlays: [UNDERLAY], cni: false };
    const topology = planTopology({ name: `t${process.pid}${label}`, ...shape });
    const directory = mkdtempSync(join(tmpdir(), `flannel-e2e-${process.pid}-`));
    this.#removeAll = () => {
      for (const { netns } of nodesOf(topology)) deleteNetns(netns);
      rmSync(directory, { recursive: true, force: true });
    };
    this.#callOffExit = atExit(this.#removeAll);
    try {
      makeHub(topology);
      for (const host of topology.hosts) makeHost(host, topology);
    } catch (error) {
      this.#callOffExit();
      this.#removeAll();
      throw error;
    }
    this.hub = new TestHost(topology.hub, directory, this.#processes);
    this.hosts = topology.hosts.map((host) => new TestHost(host, directory, this.#processes));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#processes[Symbol.asyncDispose]();
    this.#callOffExit();
    this.#removeAll();
  }
}

/** The etcd of the users' documents, on the hub: plain, for all hosts. Its files are the hub's. */
export async function startEtcdOn(hub: TestHost): Promise<{ readonly endpoint: string }> {
  const endpoint = `http://${hub.address}:2379`;
  const etcd = hub.start("etcd", [
    ...["--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", endpoint],
    ...["--data-dir", join(hub.directory, "etcd"), "--logger", "zap", "--log-outputs", "stderr"],
    ...["--heartbeat-interval", "10", "--election-timeout", "100"], // to start at once
  ]);
  await etcd.brings("etcd serving", () => /serving (insecure )?client (traffic|requests)/.test(etcd.stderr));
  return { endpoint };
}
