/**
 * The bed on which faults are injected: three hosts with a real flanneld each, a real etcd on the hub, a pod on each host
 * behind a bridge with its address from subnet.env.
 *
 *                 hub 192.168.64.1: bridge "underlay1", etcd
 *          ┌──────────────┼──────────────┐
 *     eth0 .11         eth0 .12       eth0 .13      h1, h2, h3: flanneld
 *       cni0             cni0           cni0        10.5.a.1, 10.5.b.1, 10.5.c.1
 *        │                │              │
 *       pod              pod            pod         .2
 */

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseSubnetEnv } from "../../src/config/subnet-env.ts";
import { exec } from "../../src/linux/exec.ts";
import { createNetns, deleteNetns, netnsPath } from "../../src/linux/netns.ts";
import { atExit } from "../support/at-exit.ts";
import { type TestHost, TestHosts } from "../support/hosts.ts";
import type { TestProcess } from "../support/process.ts";
import { until } from "../support/until.ts";
import { Daemon } from "./daemon.ts";
import type { Pod } from "./pings.ts";

/** The backends that the bed runs. */
export const BACKENDS = ["vxlan", "host-gw", "udp"] as const;
export type BackendName = (typeof BACKENDS)[number];

export const PREFIX = "/coreos.com/network";
const START_DEADLINE_MS = 30_000;
/** Small, so that {@link Etcd.fill} needs few writes. */
const QUOTA_BYTES = 8 * 1024 * 1024;

/** One host of the bed. */
export interface SoakHost extends TestHost {
  readonly daemon: Daemon;
  readonly pod: Pod;
  /** Its subnet: "10.5.7.0/24". */
  readonly subnet: string;
  /** Key of its lease. */
  readonly leaseKey: string;
}

export class Bed implements AsyncDisposable {
  readonly backend: BackendName;
  readonly etcd: Etcd;
  readonly hub: TestHost;
  readonly hosts: readonly SoakHost[];
  readonly #parts: AsyncDisposableStack;

  private constructor(
    backend: BackendName,
    etcd: Etcd,
    hub: TestHost,
    hosts: readonly SoakHost[],
    parts: AsyncDisposableStack,
  ) {
    this.backend = backend;
    this.etcd = etcd;
    this.hub = hub;
    this.hosts = hosts;
    this.#parts = parts;
  }

  /** Starts all of it; resolves once every host is ready. */
  static async start(backend: BackendName): Promise<Bed> {
    await using parts = new AsyncDisposableStack();
    const { hub, hosts } = parts.use(new TestHosts("soak", 3));
    const etcd = new Etcd(hub);
    await etcd.start();
    await etcd.configure(backend);
    const daemons = hosts.map((host) => {
      mkdirSync(join(host.directory, "subnet"));
      const daemon = new Daemon(host, etcd.endpoint);
      daemon.start();
      return daemon;
    });
    const ready: SoakHost[] = [];
    for (const [index, host] of hosts.entries()) {
      const daemon = daemons[index]!;
      parts.defer(() => daemon.hold("SIGKILL"));
      await until(
        async () => (await daemon.health())?.status === 200,
        `${host.name} ready`,
        START_DEADLINE_MS,
      );
      const { subnets, mtuBytes } = parseSubnetEnv(readFileSync(daemon.subnetFile, "utf8"));
      const { base } = subnets!.ipv4!;
      const network = `10.5.${Number((base >> 8n) & 255n)}`;
      const pod = await addPod(host, network, mtuBytes!, parts);
      const leaseKey = `${PREFIX}/subnets/${network}.0-24`;
      ready.push(Object.assign(host, { daemon, pod, subnet: `${network}.0/24`, leaseKey }));
    }
    return new Bed(backend, etcd, hub, ready, parts.move());
  }

  /** The device that the backend makes; undefined: it makes none. */
  get device(): string | undefined {
    return { vxlan: "flannel.1", "host-gw": undefined, udp: "flannel0" }[this.backend];
  }

  /** Why the bed is not as it was at startup, one line each: hosts that are not ready, other subnets, missing leases. */
  async problems(): Promise<string[]> {
    const listed = this.etcd.ctl(["get", "--prefix", `${PREFIX}/subnets/`]).catch(() => "");
    const ofHosts = this.hosts.map(async ({ name, daemon, subnet, leaseKey, address }) => {
      const problems: string[] = [];
      const [health, leases] = await Promise.all([daemon.health(), listed]);
      if (health?.status !== 200)
        problems.push(`${name} is not ready: ${health?.body.trim() ?? "no answer"}`);
      if (!leases.includes(`${leaseKey}\n{"PublicIP":"${address}"`)) problems.push(`${name} has no lease`);
      const expected = `FLANNEL_SUBNET=${subnet.replace(/\.0\/24$/, ".1/24")}`;
      if (!readTextOf(daemon.subnetFile).includes(expected))
        problems.push(`${name}: no ${expected} in subnet.env`);
      return problems;
    });
    return (await Promise.all(ofHosts)).flat();
  }

  /** What a host that does not recover is like, for a person to read. */
  async describe(host: SoakHost): Promise<string> {
    const commands = ["ip -brief address", "ip route", "ip -statistics link", "ip neigh", "bridge fdb"];
    const shown = commands.map(async (command) => {
      const [program, ...args] = command.split(" ") as [string, ...string[]];
      return `$ ${command}\n${await host.run(program, args).catch(String)}`;
    });
    const answers = ["/readyz", "/data-path"].map(async (path) => {
      const answer = await host.daemon.health(path);
      return `${path}: ${answer?.status} ${answer?.body}`;
    });
    return (await Promise.all([...shown, ...answers])).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

const readTextOf = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};

/** A pod behind a bridge, as a CNI plugin makes it. */
async function addPod(
  host: TestHost,
  network: string,
  mtuBytes: number,
  parts: AsyncDisposableStack,
): Promise<Pod> {
  const name = `soak-${process.pid}-${host.name}-pod`;
  createNetns(name);
  const remove = () => deleteNetns(name);
  const callOff = atExit(remove);
  parts.defer(() => {
    callOff();
    remove();
  });
  const netns = netnsPath(name);
  const address = `${network}.2`;
  const mtu = `mtu ${mtuBytes}`;
  await host.run("ip", ["-batch", "-"], {
    input: `link add cni0 ${mtu} type bridge
      address add ${network}.1/24 dev cni0
      link add pod ${mtu} type veth peer name eth0 ${mtu} netns ${name}
      link set pod master cni0 up
      link set cni0 up\n`,
  });
  await exec("ip", ["-batch", "-"], {
    netns,
    input: `address add ${address}/24 dev eth0
      link set eth0 up
      route add default via ${network}.1\n`,
  });
  return { name: host.name, netns, address };
}

/** The etcd of the bed. */
export class Etcd {
  readonly endpoint: string;
  readonly #hub: TestHost;
  #process: TestProcess | undefined;
  #generation = 0;

  constructor(hub: TestHost) {
    this.#hub = hub;
    this.endpoint = `http://${hub.address}:2379`;
  }

  /** Starts it; with the data of the run before, unless {@link wipe} was called. */
  async start(): Promise<void> {
    const etcd = this.#hub.start("etcd", [
      ...["--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", this.endpoint],
      ...["--data-dir", join(this.#hub.directory, `etcd${this.#generation}`), "--logger", "zap"],
      ...["--log-outputs", "stderr", "--heartbeat-interval", "10", "--election-timeout", "100"],
      ...["--quota-backend-bytes", String(QUOTA_BYTES), "--auto-compaction-retention", "0"],
    ]);
    this.#process = etcd;
    await etcd.brings("etcd serving", () =>
      /serving (insecure )?client (traffic|requests)/.test(etcd.stderr),
    );
  }

  async kill(): Promise<void> {
    await this.#process?.stop("SIGKILL");
  }

  /** The next start has no data. */
  wipe(): void {
    this.#generation++;
  }

  /** Stops it from answering without closing anything, and lets it continue. */
  freeze(): void {
    this.#process?.signal("SIGSTOP");
  }

  thaw(): void {
    this.#process?.signal("SIGCONT");
  }

  /** Runs etcdctl (API 3); returns what it printed. */
  ctl(args: readonly string[], input?: string): Promise<string> {
    const env = { ...process.env, ETCDCTL_API: "3" };
    const flags = ["--endpoints", this.endpoint, "--command-timeout", "10s"];
    return this.#hub.run("etcdctl", [...flags, ...args], { env, ...(input === undefined ? {} : { input }) });
  }

  async configure(backend: BackendName): Promise<void> {
    const config = { Network: "10.5.0.0/16", Backend: { Type: backend } };
    await this.ctl(["put", `${PREFIX}/config`, JSON.stringify(config)]);
  }

  /** Revokes the etcd lease of a key. */
  async revoke(key: string): Promise<void> {
    const fields = await this.ctl(["get", "--write-out=fields", key]); // JSON would round the id, which has 63 bits
    await this.ctl(["lease", "revoke", BigInt(/"Lease" : (\d+)/.exec(fields)![1]!).toString(16)]);
  }

  /** Has it forget its history: watches that fall behind have to begin again. */
  async compact(): Promise<void> {
    const { revision } = JSON.parse(await this.ctl(["get", "--write-out=json", "x"])).header;
    await this.ctl(["compact", String(revision)]).catch((error: Error) => {
      if (!error.message.includes("has been compacted")) throw error; // nothing was written since the last time
    });
  }

  /** Writes until its quota is used up (NOSPACE alarm): every further write is refused. */
  async fill(): Promise<void> {
    for (let number = 0; number < 20; number++) {
      try {
        await this.ctl(["put", `/filler/${number}`], "x".repeat(1_000_000));
      } catch {
        return;
      }
    }
    throw new Error("etcd has accepted everything");
  }

  /** Undoes {@link fill}. */
  async drain(): Promise<void> {
    await this.ctl(["del", "--prefix", "/filler/"]).catch(() => {});
    await this.compact();
    await this.ctl(["defrag"]);
    await this.ctl(["alarm", "disarm"]);
    await this.ctl(["del", "--prefix", "/filler/"]);
  }
}
