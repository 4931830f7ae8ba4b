/**
 * A real containerd on a test's host, with pids, /run, cgroup and files of its own; it is the first process of its pid
 * namespace, so that nothing of it outlives it.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exec } from "../../src/linux/exec.ts";
import { atExit } from "./at-exit.ts";
import { removeCgroups } from "./docker.ts";
import type { TestHost } from "./hosts.ts";
import type { TestProcess } from "./process.ts";

const CGROUPS = "/sys/fs/cgroup";

/** Becomes containerd in namespaces of its own. $1: its directory. */
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
  exec containerd --config "$1/config.toml"`;

export class Containerd implements AsyncDisposable {
  readonly #directory: string;
  readonly #containerd: TestProcess;
  readonly #pid: number;
  readonly #cgroup: string;
  readonly #callOffExit: () => void;

  private constructor(directory: string, cgroup: string, containerd: TestProcess, callOffExit: () => void) {
    this.#directory = directory;
    this.#containerd = containerd;
    this.#pid = Number(/^pid (\d+)$/m.exec(containerd.stdout)![1]);
    this.#cgroup = cgroup;
    this.#callOffExit = callOffExit;
  }

  static async start(host: TestHost): Promise<Containerd> {
    const directory = join(host.directory, "containerd");
    const cgroup = `flannel-e2e-${process.pid}-${host.name}-containerd`;
    mkdirSync(join(directory, "cgroup"), { recursive: true });
    writeFileSync(
      join(directory, "config.toml"),
      [
        "version = 2",
        `root = ${JSON.stringify(join(directory, "root"))}`,
        'state = "/run/containerd"',
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
        "[grpc]",
        `address = ${JSON.stringify(join(directory, "socket"))}`,
      ].join("\n"),
    );
    const callOffExit = atExit(() => removeCgroups(cgroup)); // after containerd's end
    const containerd = host.start("unshare", [
      ...["--mount", "--uts", "--ipc", "--cgroup", "--pid", "--fork", "--kill-child"],
      ...["sh", "-c", ENTER, "containerd", directory],
    ]);
    await containerd.brings(
      "containerd serving",
      () => containerd.stderr.includes("successfully booted"),
      30_000,
    );
    return new Containerd(directory, cgroup, containerd, callOffExit);
  }

  /** Containerd's command line; what it printed. */
  async ctr(args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
    const nsenter = ["--target", String(this.#pid), "--mount", "--pid", "--uts", "--ipc", "--cgroup"];
    return exec("nsenter", [...nsenter, "ctr", "--address", join(this.#directory, "socket"), ...args], {
      timeoutMs: 60_000,
    });
  }

  /** Runs a command in a container to its end. */
  run(
    image: string,
    id: string,
    flags: readonly string[],
    command: readonly string[],
  ): ReturnType<Containerd["ctr"]> {
    return this.ctr([
      ...["run", "--rm", "--snapshotter", "native", "--cgroup", `/${this.#cgroup}/${id}`],
      ...[...flags, image, id, ...command],
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#containerd[Symbol.asyncDispose]();
    this.#callOffExit();
    removeCgroups(this.#cgroup);
  }
}
