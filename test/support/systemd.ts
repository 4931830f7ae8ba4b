/**
 * A real systemd on a test's host: the first process of a pid namespace, with mounts, cgroups and /run of its own, so that
 * nothing of it reaches the machine's own one or outlives the test. It knows the units that it is given and the targets
 * that they name, and nothing else of the machine's.
 */

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ExecOptions, exec } from "../../src/linux/exec.ts";
import { atExit } from "./at-exit.ts";
import { removeCgroups } from "./docker.ts";
import type { TestHost } from "./hosts.ts";
import type { TestProcess } from "./process.ts";
import { until } from "./until.ts";

/** What units are ordered against; empty here. */
const TARGETS = ["sysinit", "basic", "shutdown", "network-online", "multi-user", "local-fs"];
const BARE_UNIT = "[Unit]\nDefaultDependencies=no\n";
/** Started with the manager, which then has nothing more to do. */
const IDLE_TARGET = "idle.target";

/**
 * Moves into cgroups of its own, then into the namespaces. $1: their name; $2: not empty = in all of cgroup v1's
 * hierarchies, as a container engine needs them; the rest: the command to become.
 */
const LEAVE_CGROUPS = `
  set -e
  name=$1 all=$2
  shift 2
  for group in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -e "$group/cgroup.procs" ] || continue
    case $group in /sys/fs/cgroup | */unified | */systemd | */devices) ;; *) [ -n "$all" ] || continue ;; esac
    mkdir -p "$group/$name"
    # A group of cpuset takes no process before it has both (cpusets(7)).
    for file in cpuset.mems cpuset.cpus; do
      [ ! -e "$group/$file" ] || cat "$group/$file" >"$group/$name/$file"
    done
    echo $$ >"$group/$name/cgroup.procs"
  done
  exec unshare --mount --uts --ipc --cgroup --pid --fork --kill-child "$@"`;

/** Mounts what a systemd needs, below $root; $controllers: those of cgroup v1 besides devices. */
const MOUNT_SYSTEM = `
  is_unified=
  [ ! -e /sys/fs/cgroup/cgroup.controllers ] || is_unified=yes
  mount --make-rprivate /
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  if [ -n "$is_unified" ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  else
    mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/unified" "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
    for names in devices $controllers; do
      mkdir "$root/sys/fs/cgroup/$names"
      mount -t cgroup -o "$names" cgroup "$root/sys/fs/cgroup/$names"
    done
  fi
  mount -t tmpfs tmpfs "$root/run"`;

/** Where the project is for the units, also if it lies where their restrictions let nothing be seen (/tmp). */
const PROJECT = "/opt/flannel-ts";
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Becomes systemd. $1: the host's directory with units/, targets/, bin/ and etc/; $2: the project; $3: directories to overlay;
 * $4: further controllers of cgroup v1 to mount.
 */
const ENTER = `
  set -e
  read -r pid rest </proc/self/stat # /proc is still that of outside
  echo "pid $pid"
  root= controllers=$4
  ${MOUNT_SYSTEM}
  mount -t tmpfs tmpfs /opt
  mkdir ${PROJECT}
  mount --bind "$2" ${PROJECT}
  for path in $3; do
    layer=/run/layers$path
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay -o "lowerdir=$path,upperdir=$layer/upper,workdir=$layer/work" overlay "$path"
  done
  mount --bind "$1/targets" /usr/lib/systemd/system
  mount --bind "$1/units" /etc/systemd/system
  mount --bind "$1/bin" /usr/local/bin
  mount --bind "$1/etc" /etc/default
  export container=test
  exec /usr/lib/systemd/systemd --system --unit=${IDLE_TARGET} --log-target=console --show-status=no`;

/**
 * Becomes the systemd of a root file system of its own. $1: the host's directory; $2: the root file system, which is not
 * changed; $3: a directory that is seen as /mnt.
 */
const ENTER_ROOT = `
  set -e
  read -r pid rest </proc/self/stat # /proc is still that of outside
  echo "pid $pid"
  mkdir -p "$1/overlay"
  mount -t tmpfs tmpfs "$1/overlay"
  mkdir "$1/overlay/upper" "$1/overlay/work" "$1/overlay/root"
  root=$1/overlay/root controllers=
  mount -t overlay -o "lowerdir=$2,upperdir=$1/overlay/upper,workdir=$1/overlay/work" overlay "$root"
  ${MOUNT_SYSTEM}
  # What prepares a machine would change this one: its devices, kernel parameters, modules.
  for wanted in "$root/usr/lib/systemd/system/sysinit.target.wants"/* "$root/usr/lib/systemd/system/local-fs.target.wants"/*; do
    case $wanted in */systemd-journald* | */systemd-tmpfiles-setup.service) continue ;; esac
    ln -sf /dev/null "$root/etc/systemd/system/\${wanted##*/}"
  done
  ln -s /dev/null "$root/etc/systemd/system/systemd-journald-audit.socket"
  mount --rbind /dev "$root/dev"
  mount --bind "$3" "$root/mnt"
  cd "$root"
  pivot_root . .
  umount --lazy .
  export container=test
  exec /lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=no`;

export interface SystemdOptions {
  /** Files below /etc/systemd/system: "x.service", "x.service.d/y.conf"; with their text. */
  readonly units: Readonly<Record<string, string>>;
  /** Programs in /usr/local/bin: links to these paths. */
  readonly programs: Readonly<Record<string, string>>;
  /** Files in /etc/default. */
  readonly settings: Readonly<Record<string, string>>;
  /** Directories of the machine that may be written to here, without effect outside: "/etc". */
  readonly writable?: readonly string[];
  /** Whether a container engine runs here, which needs all controllers of cgroup v1. */
  readonly hasContainers?: boolean;
}

/** The hierarchies of cgroup v1 besides systemd's own and devices: "memory", "cpu,cpuacct". */
function furtherControllers(): string[] {
  const lines = readFileSync("/proc/self/mounts", "utf8").split("\n");
  const types = lines.map((line) => line.split(" ")).filter(([, , type]) => type === "cgroup");
  const names = types.map(([, path]) => basename(path!));
  return names.filter((name) => !["systemd", "devices"].includes(name));
}

export class Systemd implements AsyncDisposable {
  /** The manager's, outside of its pid namespace. */
  readonly pid: number;
  readonly #process: TestProcess;
  readonly #dispose: () => void;

  private constructor(process: TestProcess, pid: number, dispose: () => void) {
    this.#process = process;
    this.pid = pid;
    this.#dispose = dispose;
  }

  static async start(host: TestHost, options: SystemdOptions): Promise<Systemd> {
    const { units, programs, settings, writable = [], hasContainers = false } = options;
    const controllers = hasContainers ? furtherControllers() : [];
    const put = (directory: string, files: Readonly<Record<string, string>>): void => {
      mkdirSync(join(host.directory, directory), { recursive: true });
      for (const [file, text] of Object.entries(files)) {
        mkdirSync(join(host.directory, directory, file, ".."), { recursive: true });
        writeFileSync(join(host.directory, directory, file), text);
      }
    };
    put("targets", Object.fromEntries(TARGETS.map((target) => [`${target}.target`, BARE_UNIT])));
    put("units", { [IDLE_TARGET]: BARE_UNIT, ...units });
    put("etc", settings);
    put("bin", {});
    for (const [name, path] of Object.entries(programs)) {
      const inside = path.startsWith(ROOT) ? join(PROJECT, path.slice(ROOT.length)) : path;
      symlinkSync(inside, join(host.directory, "bin", name));
    }
    const args = [host.directory, ROOT, writable.join(" ")];
    return Systemd.#become(host, ENTER, args, IDLE_TARGET, controllers.join(" "));
  }

  /** The systemd of the root file system `root`, of which it sees a copy; `mnt` is seen as /mnt. */
  static boot(host: TestHost, root: string, mnt: string): Promise<Systemd> {
    return Systemd.#become(host, ENTER_ROOT, [host.directory, root, mnt], "basic.target");
  }

  static async #become(
    host: TestHost,
    script: string,
    args: readonly string[],
    target: string,
    controllers = "",
  ): Promise<Systemd> {
    const group = `flannel-systemd-${process.pid}-${host.name}`;
    const callOffExit = atExit(() => removeCgroups(group));
    const child = host.start("sh", [
      ...["-c", LEAVE_CGROUPS, "sh", group, controllers],
      ...["sh", "-c", script, "sh", ...args, controllers],
    ]);
    await child.brings("systemd", () => /^pid \d+$/m.test(child.stdout));
    const systemd = new Systemd(child, Number(/^pid (\d+)$/m.exec(child.stdout)![1]), () => {
      callOffExit();
      removeCgroups(group);
    });
    await child.brings("systemd's answer", () => systemd.isActive(target));
    return systemd;
  }

  /** systemctl here. Rejects with ExecError unless it succeeds. */
  async systemctl(...args: string[]): Promise<string> {
    return (await this.run("systemctl", args)).stdout.trimEnd();
  }

  /** Runs a program where the services run, without their restrictions. */
  run(program: string, args: readonly string[], options: ExecOptions = {}) {
    const enter = ["--target", String(this.pid), "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup"];
    return exec("nsenter", [...enter, program, ...args], options);
  }

  isActive = (unit: string): Promise<boolean> =>
    this.systemctl("is-active", unit).then(
      (state) => state === "active",
      () => false,
    );

  /** Waits for a unit to be started. */
  async untilActive(unit: string, deadlineMs?: number): Promise<void> {
    await this.#process.brings(`${unit} active`, () => this.isActive(unit), deadlineMs);
  }

  /** One property of a unit: "MainPID", "NRestarts". */
  property = (unit: string, name: string): Promise<string> =>
    this.systemctl("show", "--value", "--property", name, unit);

  tail() {
    return this.#process.stderr.slice(-6000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
    await until(() => this.#process.hasEnded, "the end of systemd");
    this.#dispose();
  }
}
