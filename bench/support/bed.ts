/**
 * Where benchmarks take place: this process sits in a network namespace of its own, with a bridge and etcd; hosts are
 * namespaces with one leg on the bridge, created again for each turn.
 *
 *     this process: br0 192.168.255.1, etcd :2379 ──┬── eth0 192.168.0.10  host
 *                                                   └── eth0 192.168.0.11  host …
 */

import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { createNetns, deleteNetns, netnsPath, withNetns } from "../../src/linux/netns.ts";
import { NTF_EXT_LEARNED, NUD_PERMANENT } from "../../src/netlink/neighbour.ts";
import { RT_TABLE_MAIN } from "../../src/netlink/route.ts";
import type { Rtnetlink } from "../../src/netlink/rtnetlink.ts";
import { type BenchEtcd, startBenchEtcd } from "./etcd.ts";
import { DEVICE, SUBNET_LENGTH } from "./peers.ts";
import { rest, waitFor } from "./wait.ts";

const BRIDGE = "br0";
/** Else it is that of a port, and another one when that port goes: the hosts would look for it in vain. */
const BRIDGE_MAC = "02:00:00:ff:00:01";
const BRIDGE_ADDRESS = "192.168.255.1";
const PREFIX_LENGTH = 16;
const GONE_DEADLINE_MS = 30_000;

export interface Bed extends AsyncDisposable {
  /** Of this process, where hosts reach it. */
  readonly address: string;
  readonly etcd: BenchEtcd;
  /** Makes a host, once the machine has come to rest. */
  host(): Promise<BenchHost>;
}

/** Builds the bed in the caller's namespace, which must be one made for it. */
export async function makeBed(): Promise<Bed> {
  run("ip", "link", "set", "lo", "up");
  run("ip", "link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge");
  run("ip", "address", "add", `${BRIDGE_ADDRESS}/${PREFIX_LENGTH}`, "dev", BRIDGE);
  run("ip", "link", "set", BRIDGE, "up");
  const rtnetlink = openRtnetlink();
  const etcd = await startBenchEtcd(BRIDGE_ADDRESS);
  let count = 0;
  return {
    address: BRIDGE_ADDRESS,
    etcd,
    async host() {
      await rest();
      return new BenchHost(rtnetlink, count++);
    },
    async [Symbol.asyncDispose]() {
      rtnetlink.close();
      await etcd[Symbol.asyncDispose]();
    },
  };
}

/** A namespace with loopback, gone with the process at the latest. */
export class Namespace implements Disposable {
  readonly name: string;
  /** /run/netns/NAME. */
  readonly path: string;
  readonly #remove: () => void;

  constructor(label: string) {
    this.name = `fb-${process.pid}-${label}`;
    this.path = netnsPath(this.name);
    createNetns(this.name);
    this.#remove = () => deleteNetns(this.name);
    process.once("exit", this.#remove);
    this.run("ip", "link", "set", "lo", "up");
  }

  /** Runs a program in it to its end and gives back what it printed. Throws with its stderr if it fails. */
  run(program: string, ...args: string[]): string {
    return withNetns(this.path, () => run(program, ...args));
  }

  /** Starts a program in it. */
  spawn(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
    return withNetns(this.path, () => spawn(program, args, options));
  }

  [Symbol.dispose](): void {
    process.removeListener("exit", this.#remove);
    this.#remove();
  }
}

export class BenchHost extends Namespace implements AsyncDisposable {
  /** Address of eth0, published to peers. */
  readonly address: string;
  /** For its files. */
  readonly directory: string;
  readonly #hub: Rtnetlink;
  readonly #leg: string;
  readonly #removeFiles = () => rmSync(this.directory, { recursive: true, force: true });

  constructor(hub: Rtnetlink, index: number) {
    super(`h${index}`);
    this.#hub = hub;
    this.#leg = `h${index}`;
    this.address = `192.168.${index >> 8}.${(index & 255) + 10}`;
    this.directory = mkdtempSync(join(tmpdir(), `flannel-bench-${process.pid}-`));
    process.once("exit", this.#removeFiles);
    run("ip", "link", "add", this.#leg, "type", "veth", "peer", "name", "eth0", "netns", this.name);
    run("ip", "link", "set", this.#leg, "up", "master", BRIDGE);
    this.run("ip", "address", "add", `${this.address}/${PREFIX_LENGTH}`, "dev", "eth0");
    this.run("ip", "link", "set", "eth0", "up");
    this.run("ip", "route", "add", "default", "via", BRIDGE_ADDRESS);
  }

  /** How many entries for peers the kernel holds here: a complete host has the same number of each. */
  entries(): { readonly routes: number; readonly neighbours: number; readonly fdb: number } {
    using rtnetlink = openRtnetlink({ netns: this.path });
    const ifindex = rtnetlink.linkByName(DEVICE)?.index;
    if (ifindex === undefined) return { routes: 0, neighbours: 0, fdb: 0 };
    const routes = rtnetlink.routes({ family: 4, table: RT_TABLE_MAIN, oif: ifindex });
    const neighbours = rtnetlink.neighbours({ family: 4, ifindex });
    const fdb = rtnetlink.fdb({ ifindex });
    return {
      routes: routes.filter((route) => route.destination.endsWith(`/${SUBNET_LENGTH}`)).length,
      neighbours: neighbours.filter((neighbour) => neighbour.state === NUD_PERMANENT).length,
      fdb: fdb.filter((entry) => (entry.state & NUD_PERMANENT) !== 0 && (entry.flags & NTF_EXT_LEARNED) === 0)
        .length,
    };
  }

  /** Throws unless exactly `peers` peers are programmed. */
  expectComplete(peers: number): void {
    const { routes, neighbours, fdb } = this.entries();
    if (routes !== peers || neighbours !== peers || fdb !== peers) {
      throw new Error(
        `the kernel holds ${routes} routes, ${neighbours} neighbours and ${fdb} FDB entries for ${peers} peers`,
      );
    }
  }

  /** Removes it and waits until the kernel has. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    process.removeListener("exit", this.#removeFiles);
    this.#removeFiles();
    // The kernel takes a namespace apart in the background; the other end of its veth goes with it.
    await waitFor(
      `the end of ${this.name}`,
      () => (this.#hub.linkByName(this.#leg) === undefined ? true : undefined),
      { deadlineMs: GONE_DEADLINE_MS },
    );
  }
}

const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
