/**
 * Packets lost between containers of two hosts while flanneld is killed or stopped on one of them and started again,
 * with a ping every 10 ms. Lost are the missing sequence numbers below the highest that came back.
 *
 *     container ── cni0 ── flannel.1 ── eth0 ══ bridge ══ eth0 ── flannel.1 ── cni0 ── container
 */

import { createInterface } from "node:readline";
import { writeSysctl } from "../src/linux/sysctl.ts";
import { type BenchHost, Namespace } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import type { Measurement } from "./support/measurement.ts";
import { waitFor } from "./support/wait.ts";

const PEERS = 10;
const PING_INTERVAL_SECONDS = "0.01";
/** Replies before the daemon goes and after it is back. */
const MARGIN_REPLIES = 30;
const SIGNALS = ["SIGKILL", "SIGTERM"] as const;

export const packetLoss: Benchmark = {
  name: "packet-loss",
  async run(context) {
    const { bed, turns, progress } = context;
    const prefix = await bed.etcd.networkOf(PEERS);
    await using a = await Site.build(context, prefix);
    await using b = await Site.build(context, prefix);
    const measurements: Measurement[] = [];
    for (const signal of SIGNALS) {
      const lost: number[] = [];
      let sent = 0;
      for (let turn = 1; turn <= turns; turn++) {
        progress(`${signal}, turn ${turn} of ${turns}`);
        // On the sending and on the receiving side in turn.
        const restarted = turn % 2 === 1 ? a : b;
        using ping = new Ping(a.container, b.address);
        await ping.replies(MARGIN_REPLIES);
        await restarted.restart(signal);
        await ping.replies(MARGIN_REPLIES);
        lost.push(ping.lost);
        sent += ping.highest;
      }
      const measure = `${signal} and restart, ${turns} times: lost of ${sent.toLocaleString("en-US")} packets`;
      measurements.push({
        measure,
        value: lost.reduce((sum, number) => sum + number, 0),
        unit: "",
        bar: 0,
        samples: lost,
      });
    }
    for (const site of [a, b]) await bed.etcd.remove(prefix, site.leaseKey);
    return measurements;
  },
};

/** A host with flanneld, and a container behind a bridge on it. */
class Site implements AsyncDisposable {
  readonly container: Namespace;
  readonly address: string;
  readonly leaseKey: string;
  readonly #host: BenchHost;
  readonly #start: () => Daemon;
  #daemon: Daemon;

  private constructor(host: BenchHost, daemon: Daemon, start: () => Daemon) {
    this.#host = host;
    this.#daemon = daemon;
    this.#start = start;
    this.leaseKey = daemon.leaseKey();
    const { gateway, mtuBytes } = daemon.containerNetwork();
    const [gatewayAddress, length] = gateway.split("/") as [string, string];
    this.address = gatewayAddress.replace(/\d+$/, "2");
    this.container = new Namespace(`${host.name.split("-").at(-1)}-c`);
    writeSysctl("ipv4/ip_forward", "1", { netns: host.path });
    host.run("ip", "link", "add", "cni0", "type", "bridge");
    host.run("ip", "address", "add", gateway, "dev", "cni0");
    host.run("ip", "link", "set", "cni0", "up", "mtu", mtuBytes);
    host.run("ip", "link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", this.container.name);
    host.run("ip", "link", "set", "c0", "up", "mtu", mtuBytes, "master", "cni0");
    this.container.run("ip", "address", "add", `${this.address}/${length}`, "dev", "eth0");
    this.container.run("ip", "link", "set", "eth0", "up", "mtu", mtuBytes);
    this.container.run("ip", "route", "add", "default", "via", gatewayAddress);
  }

  static async build({ bed, flanneld }: BenchContext, prefix: string): Promise<Site> {
    const host = await bed.host();
    const start = () => new Daemon(host, { flanneld, etcdEndpoint: bed.etcd.endpoint, prefix, health: true });
    const daemon = start();
    await daemon.ready();
    return new Site(host, daemon, start);
  }

  async restart(signal: (typeof SIGNALS)[number]): Promise<void> {
    await this.#daemon.stop(signal);
    this.#daemon = this.#start();
    await this.#daemon.ready();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
    this.container[Symbol.dispose]();
    await this.#host[Symbol.asyncDispose]();
  }
}

/** A ping that goes on until it is disposed of. */
class Ping implements Disposable {
  readonly #seen = new Set<number>();
  readonly #child;

  constructor(from: Namespace, address: string) {
    this.#child = from.spawn("ping", ["-n", "-i", PING_INTERVAL_SECONDS, address], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      const sequence = /bytes from .* icmp_seq=(\d+)/.exec(line)?.[1];
      if (sequence !== undefined) this.#seen.add(Number(sequence));
    });
  }

  /** Waits for so many further replies. */
  async replies(count: number): Promise<void> {
    const goal = this.#seen.size + count;
    await waitFor(`${count} ping replies`, () => (this.#seen.size >= goal ? true : undefined));
  }

  get highest(): number {
    return Math.max(...this.#seen);
  }

  get lost(): number {
    return this.highest - this.#seen.size;
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}
