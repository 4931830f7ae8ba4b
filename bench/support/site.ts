/** Hosts with flanneld and a container each, and pings between the containers. */

import { join } from "node:path";
import { createInterface } from "node:readline";
import { writeSysctl } from "../../src/linux/sysctl.ts";
import type { ServiceManager } from "../../test/support/service-manager.ts";
import { type BenchHost, Namespace } from "./bed.ts";
import type { BenchContext } from "./benchmark.ts";
import { Daemon, type DaemonOptions } from "./daemon.ts";
import { waitFor } from "./wait.ts";

const PING_INTERVAL_SECONDS = "0.01";

type Start = (more: Pick<DaemonOptions, "args" | "manager">) => Daemon;

/** A namespace behind the bridge cni0 of a host, and its address. */
export interface Container {
  readonly namespace: Namespace;
  readonly address: string;
}

/** `gateway`: the first address of the host's subnet with its length, "10.0.3.1/24"; the container has the second. */
export function addContainer(
  host: BenchHost,
  { gateway, mtuBytes }: { readonly gateway: string; readonly mtuBytes: string },
): Container {
  const [gatewayAddress, length] = gateway.split("/") as [string, string];
  const address = gatewayAddress.replace(/\d+$/, "2");
  const namespace = new Namespace(`${host.name.split("-").at(-1)}-c`);
  writeSysctl("ipv4/ip_forward", "1", { netns: host.path });
  host.run("ip", "link", "add", "cni0", "type", "bridge");
  host.run("ip", "address", "add", gateway, "dev", "cni0");
  host.run("ip", "link", "set", "cni0", "up", "mtu", mtuBytes);
  host.run("ip", "link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", namespace.name);
  host.run("ip", "link", "set", "c0", "up", "mtu", mtuBytes, "master", "cni0");
  namespace.run("ip", "address", "add", `${address}/${length}`, "dev", "eth0");
  namespace.run("ip", "link", "set", "eth0", "up", "mtu", mtuBytes);
  namespace.run("ip", "route", "add", "default", "via", gatewayAddress);
  return { namespace, address };
}

/** A host with flanneld, and a container behind a bridge on it. */
export class Site implements AsyncDisposable {
  readonly container: Namespace;
  readonly address: string;
  readonly leaseKey: string;
  readonly host: BenchHost;
  /** Under which it is started from now on. */
  manager: ServiceManager | undefined;
  readonly #start: Start;
  #daemon: Daemon;

  private constructor(host: BenchHost, daemon: Daemon, start: Start) {
    this.host = host;
    this.#daemon = daemon;
    this.#start = start;
    this.leaseKey = daemon.leaseKey();
    const { namespace, address } = addContainer(host, daemon.containerNetwork());
    this.container = namespace;
    this.address = address;
  }

  static async build({ bed, flanneld }: BenchContext, prefix: string): Promise<Site> {
    const host = await bed.host();
    const start: Start = (more) =>
      new Daemon(host, {
        ...{ flanneld, etcdEndpoint: bed.etcd.endpoint, prefix, health: true },
        // The default path is the same on all hosts of the bed.
        env: { WIREGUARD_KEY_FILE: join(host.directory, "wgkey") },
        ...more,
      });
    const daemon = start({});
    await daemon.ready();
    return new Site(host, daemon, start);
  }

  get pid(): number {
    return this.#daemon.pid;
  }

  async stop(signal: "SIGKILL" | "SIGTERM" = "SIGTERM"): Promise<void> {
    await this.#daemon.stop(signal);
  }

  /** Starts it again, with further flags. */
  async start(args: readonly string[] = []): Promise<void> {
    this.#daemon = this.#start({ args, manager: this.manager });
    await this.#daemon.ready();
  }

  async restart(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    await this.stop(signal);
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
    this.container[Symbol.dispose]();
    await this.host[Symbol.asyncDispose]();
  }
}

/** A ping every 10 ms until it is disposed of. Lost are the missing sequence numbers below the highest that came back. */
export class Ping implements Disposable {
  readonly #seen = new Set<number>();
  readonly #child;
  #lastReplyMs = performance.now();
  #longestMs = 0;

  constructor(from: Namespace, address: string) {
    this.#child = from.spawn("ping", ["-n", "-i", PING_INTERVAL_SECONDS, address], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      const [, sequence, timeMs] = /bytes from .* icmp_seq=(\d+) .*time=([\d.]+) ms/.exec(line) ?? [];
      if (sequence === undefined) return;
      this.#seen.add(Number(sequence));
      this.#longestMs = Math.max(this.#longestMs, Number(timeMs));
      this.#lastReplyMs = performance.now();
    });
  }

  /** Waits for so many further replies. */
  async replies(count: number): Promise<void> {
    const goal = this.#seen.size + count;
    await waitFor(`${count} ping replies`, () => (this.#seen.size >= goal ? true : undefined), {
      intervalMs: 2,
    });
  }

  /** Whether nothing has come for so long. */
  isSilentFor(ms: number): boolean {
    return performance.now() - this.#lastReplyMs >= ms;
  }

  get highest(): number {
    return Math.max(...this.#seen);
  }

  /** The longest round trip. */
  get longestMs(): number {
    return this.#longestMs;
  }

  get lost(): number {
    return this.highest - this.#seen.size;
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}
