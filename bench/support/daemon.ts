/** flanneld on a host of the bed: started as an operator does, watched from outside. */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, rmSync, watch } from "node:fs";
import { join } from "node:path";
import { parseSubnetEnv } from "../../src/config/subnet-env.ts";
import { encodeLeaseKey } from "../../src/lease/lease-codec.ts";
import { NOTHING, type ServiceManager } from "../../test/support/service-manager.ts";
import type { BenchHost } from "./bed.ts";
import { waitFor, within } from "./wait.ts";

const HEALTH_PORT = 8471;
/** How much of the log an error shows; a crash prints the bundle's one long line. */
const LOG_LINES = 15;
const LOG_LINE_LENGTH = 300;

/** An etcd, or all that a pod in a cluster brings along. */
type Datastore = { readonly etcdEndpoint: string; readonly prefix: string } | { readonly pod: PodSettings };

/** How flanneld is started in a pod. */
export interface PodSettings {
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** A command in front of flanneld's that becomes it. */
  readonly through: readonly string[];
}

/** How to start it. */
export type DaemonOptions = Datastore & {
  /** The executable. */
  readonly flanneld: string;
  /** Serve /readyz, for {@link Daemon.ready}. */
  readonly health?: boolean;
  /** Further flags. */
  readonly args?: readonly string[];
  /** Further variables of its environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Under systemd, as it were. */
  readonly manager?: ServiceManager | undefined;
};

const settingsOf = (datastore: Datastore): PodSettings =>
  "pod" in datastore
    ? datastore.pod
    : {
        flags: [`--etcd-endpoints=${datastore.etcdEndpoint}`, `--etcd-prefix=${datastore.prefix}`],
        env: {},
        through: [],
      };

export class Daemon implements AsyncDisposable {
  /** When it was started, as performance.now(). */
  readonly startedMs: number;
  readonly pid: number;
  /** When subnet.env was there, as performance.now(). */
  readonly subnetEnvWritten: Promise<number>;
  readonly #host: BenchHost;
  readonly #child: ChildProcess;
  readonly #logPath: string;
  readonly #subnetFile: string;
  readonly #killNow: () => void;

  constructor(host: BenchHost, options: DaemonOptions) {
    this.#host = host;
    this.#logPath = join(host.directory, "flanneld.log");
    this.#subnetFile = join(host.directory, "subnet.env");
    const { promise, resolve } = Promise.withResolvers<number>();
    this.subnetEnvWritten = promise;
    const watcher = watch(host.directory, () => {
      if (!existsSync(this.#subnetFile)) return;
      resolve(performance.now());
      watcher.close();
    });
    const log = openSync(this.#logPath, "a");
    this.startedMs = performance.now();
    const { env, fds, through } = options.manager?.handOver() ?? NOTHING;
    const pod = settingsOf(options);
    const [command = options.flanneld, ...before] = [...through, ...pod.through, options.flanneld];
    this.#child = host.spawn(
      command,
      [
        ...before,
        ...pod.flags,
        "--iface=eth0",
        `--subnet-file=${this.#subnetFile}`,
        ...(options.args ?? []),
        ...(options.health ? [`--healthz-ip=${host.address}`, `--healthz-port=${HEALTH_PORT}`] : []),
      ],
      { stdio: ["ignore", log, log, ...fds], env: { ...process.env, ...pod.env, ...options.env, ...env } },
    );
    closeSync(log);
    this.#child.on("error", () => {}); // has no pid then
    this.#child.once("exit", () => watcher.close());
    if (this.#child.pid === undefined) throw new Error(`cannot run ${options.flanneld}`);
    this.pid = this.#child.pid;
    this.#killNow = () => void this.#child.kill("SIGKILL");
    process.once("exit", this.#killNow);
  }

  /** Waits for what this daemon is to bring about; fails with the end of its log if it exits first or is late. */
  async brings<T>(what: string, event: Promise<T>, deadlineMs = 30_000): Promise<T> {
    const gone = new AbortController();
    const exit = once(this.#child, "exit", { signal: gone.signal }).then(([code, signal]) => {
      throw new Error(`flanneld ended (${code ?? signal}) before: ${what}`);
    });
    exit.catch(() => {});
    try {
      return await within(deadlineMs, what, Promise.race([event, exit]));
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.#logTail()}`);
    } finally {
      gone.abort();
    }
  }

  /** Waits until /readyz says so. */
  async ready(): Promise<void> {
    const url = `http://${this.#host.address}:${HEALTH_PORT}/readyz`;
    const isReady = () =>
      fetch(url).then(
        (response) => response.ok || undefined,
        () => undefined, // does not listen yet
      );
    await this.brings("readiness", waitFor("readiness", isReady, { deadlineMs: 30_000 }));
  }

  /** Key of the lease that it holds, from subnet.env. */
  leaseKey(): string {
    return encodeLeaseKey(parseSubnetEnv(readFileSync(this.#subnetFile, "utf8")).subnets);
  }

  /** The first address of its subnet with the length, "10.0.3.1/24", and the MTU for containers. */
  containerNetwork(): { readonly gateway: string; readonly mtuBytes: string } {
    const text = readFileSync(this.#subnetFile, "utf8");
    const value = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(text)![1]!;
    return { gateway: value("FLANNEL_SUBNET"), mtuBytes: value("FLANNEL_MTU") };
  }

  /** Ends it and waits for its exit code; null if it was killed. */
  async stop(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    process.removeListener("exit", this.#killNow);
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exit = once(this.#child, "exit");
      this.#child.kill(signal);
      await within(10_000, `the end of flanneld after ${signal}`, exit);
    }
    return this.#child.exitCode;
  }

  /** Takes away what a start leaves on the host besides its lease and the kernel's entries. */
  forgetSubnet(): void {
    rmSync(this.#subnetFile, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
  }

  #logTail(): string {
    const lines = readFileSync(this.#logPath, "utf8").trimEnd().split("\n");
    return lines
      .slice(-LOG_LINES)
      .map((line) => line.slice(0, LOG_LINE_LENGTH))
      .join("\n");
  }
}
