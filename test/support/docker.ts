/**
 * A real Docker engine on a test's host, and a container in it. The engine has pids, /run, /var/lib/docker, cgroup
 * parent and socket of its own, so that several run on one machine beside its own; it is the first process of its pid
 * namespace, so that nothing of it outlives it.
 */

import { copyFileSync, existsSync, linkSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { hasCode, isNotFound } from "../../src/base/error.ts";
import { type ExecOptions, exec } from "../../src/linux/exec.ts";
import { atExit } from "./at-exit.ts";
import type { TestHost } from "./hosts.ts";
import type { ProcessOptions, TestProcess } from "./process.ts";
import { until } from "./until.ts";

const IMAGE = "busybox";
const APPLETS = ["sh", "sleep", "nc", "ping", "cat"];
const CGROUPS = "/sys/fs/cgroup";

/** Becomes dockerd in namespaces of its own. $1: the engine's directory; the rest: dockerd's arguments. */
const ENTER = `
  set -e
  read -r pid rest </proc/self/stat # /proc is still that of outside
  echo "pid $pid"
  mount --make-rprivate /
  mount --rbind ${CGROUPS} "$1/cgroup"
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount --rbind "$1/cgroup" ${CGROUPS}
  mount -t tmpfs tmpfs /run
  mkdir -p /run/lock /var/lib/docker
  mount --bind "$1/lib" /var/lib/docker
  shift
  exec dockerd "$@"`;

export class DockerEngine implements AsyncDisposable {
  readonly host: TestHost;
  /** dockerd's, outside of its pid namespace. */
  readonly pid: number;
  readonly #dockerd: TestProcess;
  readonly #callOffExit: () => void;

  private constructor(host: TestHost, dockerd: TestProcess, pid: number, callOffExit: () => void) {
    this.host = host;
    this.#dockerd = dockerd;
    this.pid = pid;
    this.#callOffExit = callOffExit;
  }

  /** Starts dockerd with these options and waits until it answers. What an engine before it on this host had is there. */
  static async start(host: TestHost, options: readonly string[]): Promise<DockerEngine> {
    for (const name of ["cgroup", "lib"]) mkdirSync(join(host.directory, name), { recursive: true });
    const callOffExit = atExit(() => removeCgroups(cgroupOf(host))); // after dockerd's end
    const dockerd = host.start(
      "unshare",
      [
        ...["--mount", "--uts", "--ipc", "--cgroup", "--pid", "--fork", "--kill-child"],
        ...["sh", "-c", ENTER, "dockerd", host.directory],
        ...["--host", socketOf(host), "--storage-driver=vfs", "--cgroup-parent", `/${cgroupOf(host)}`],
        ...options,
      ],
      { env: { XTABLES_LOCKFILE: lockFileOf(host) } },
    );
    await dockerd.brings("dockerd listening", () => /API listen on/.test(dockerd.stderr), 30_000);
    return new DockerEngine(host, dockerd, Number(/^pid (\d+)$/m.exec(dockerd.stdout)![1]), callOffExit);
  }

  /** The docker command line; what it printed, without the last line end. */
  async docker(args: readonly string[], options: ExecOptions = {}): Promise<string> {
    const { stdout } = await exec("docker", args, { env: this.#environment(), ...options });
    return stdout.trimEnd();
  }

  /** The same, running beside the test. */
  startDocker(args: readonly string[], options: Pick<ProcessOptions, "onStdout">): TestProcess {
    return this.host.start("docker", args, { env: this.#environment(), ...options });
  }

  /** An image of busybox, from this machine's static one. */
  async importImage(): Promise<void> {
    const root = join(this.host.directory, "image");
    const bin = join(root, "bin");
    mkdirSync(bin, { recursive: true });
    copyFileSync("/bin/busybox", join(bin, "busybox"));
    for (const applet of APPLETS) linkSync(join(bin, "busybox"), join(bin, applet));
    const archive = join(this.host.directory, "image.tar");
    await exec("tar", ["-C", root, "-cf", archive, "."]);
    await this.docker(["import", archive, IMAGE]);
  }

  /** Starts a container that does nothing by itself and comes back when the engine does. */
  async run(name: string): Promise<Container> {
    const flags = ["--detach", "--restart=always", "--stop-timeout=0", "--name", name];
    await this.docker(["run", ...flags, IMAGE, "sleep", "1000000"]);
    return this.container(name);
  }

  /** A container that should be running, as it is now. */
  async container(name: string): Promise<Container> {
    const format = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.SandboxKey}}";
    let found = "";
    await until(async () => {
      found = await this.docker(["inspect", "--format", format, name]);
      return /^\d\S+ \/./.test(found);
    }, `container ${name} on ${this.host.name}`);
    const [address, sandbox] = found.split(" ") as [string, string];
    // In the engine's own /run, which /var/run points to.
    const netns = `/proc/${this.pid}/root${sandbox.replace(/^\/var\/run\//, "/run/")}`;
    return new Container(this, name, address, netns);
  }

  /** Ends the engine as systemd does. Its containers end with it. */
  async stop(): Promise<void> {
    process.kill(this.pid, "SIGTERM");
    await until(() => this.#dockerd.hasEnded, `the end of dockerd on ${this.host.name}`, 30_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dockerd[Symbol.asyncDispose]();
    this.#callOffExit();
    removeCgroups(cgroupOf(this.host));
  }

  #environment(): Record<string, string> {
    return { PATH: process.env.PATH!, HOME: this.host.directory, DOCKER_HOST: socketOf(this.host) };
  }
}

const socketOf = (host: TestHost): string => `unix://${join(host.directory, "docker.sock")}`;
/** Programs that use iptables on one host share a lock (iptables(8)); here it must not be the machine's. */
export const lockFileOf = (host: TestHost): string => join(host.directory, "xtables.lock");
const cgroupOf = (host: TestHost): string => `flannel-e2e-${process.pid}-${host.name}`;

export class Container {
  readonly engine: DockerEngine;
  readonly name: string;
  readonly address: string;
  /** Path of its network namespace: for the machine's tools, where busybox's lack something. */
  readonly netns: string;

  constructor(engine: DockerEngine, name: string, address: string, netns: string) {
    this.engine = engine;
    this.name = name;
    this.address = address;
    this.netns = netns;
  }

  /** Runs a program of the machine in the container's network namespace. */
  async run(program: string, ...args: string[]): Promise<string> {
    return (await exec(program, args, { netns: this.netns })).stdout;
  }

  /** Runs a program of the container in it. */
  exec(...command: string[]): Promise<string> {
    return this.engine.docker(["exec", this.name, ...command]);
  }

  /** Starts a program of the container in it. */
  start(command: readonly string[], options: Pick<ProcessOptions, "onStdout"> = {}): TestProcess {
    return this.engine.startDocker(["exec", "--interactive", this.name, ...command], options);
  }
}

const CGROUP_DEADLINE_MS = 5000;
const NEVER_CHANGED = new Int32Array(new SharedArrayBuffer(4));

/** Removes the groups of that name that something left behind, in every hierarchy (cgroups(7)). Synchronous: for exit handlers too. */
export function removeCgroups(name: string): void {
  const roots = [CGROUPS, ...readdirSync(CGROUPS).map((controller) => join(CGROUPS, controller))];
  const deadlineMs = performance.now() + CGROUP_DEADLINE_MS;
  for (const group of roots.map((root) => join(root, name)).filter((path) => existsSync(path))) {
    const below = readdirSync(group, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name));
    for (const path of [group, ...below].sort().reverse()) {
      while (!removeIfEmpty(path)) {
        // What was killed may still be about to end.
        if (performance.now() > deadlineMs) throw new Error(`${path} stays in use`);
        Atomics.wait(NEVER_CHANGED, 0, 0, 5);
      }
    }
  }
}

function removeIfEmpty(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (isNotFound(error)) return true;
    if (hasCode(error, "EBUSY")) return false;
    throw error;
  }
}
