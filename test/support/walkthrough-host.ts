/** A machine for walkthroughs: a test's host with systemd, a journal, Docker's units and a root shell. */

import { copyFileSync, linkSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { exec } from "../../src/linux/exec.ts";
import type { TestHost } from "./hosts.ts";
import type { TestProcess } from "./process.ts";
import "./programs.ts"; // what runs here is built
import { Systemd } from "./systemd.ts";
import type { Addresses, Step } from "./walkthrough.ts";

const UNITS = "/usr/lib/systemd/system";
const JOURNAL = ["systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"];
/** As distributions have them, and as flannel's drop-in expects. */
const DOCKER_SERVICE = `[Unit]
Requires=docker.socket
After=docker.socket
[Service]
Type=notify
EnvironmentFile=-/etc/sysconfig/docker-network
ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_NETWORK_OPTIONS
Delegate=yes
`;
const DOCKER_SOCKET = `[Socket]
ListenStream=/run/docker.sock
`;
const APPLETS = ["sh", "sleep", "ping", "ip", "httpd", "nc"];
/** What commands that only read print depends on the cluster: they are typed again until it fits, at most this long. */
const DEADLINE_MS = 30_000;
const READS =
  /^(cat|ip|ping|journalctl|curl|flannelctl (leases|status|check|ping)|docker (exec|inspect)|grep|ps|pgrep|tail) /;
const END = "<end of the command>";

export class WalkthroughHost implements AsyncDisposable {
  readonly #systemd: Systemd;
  readonly #shell: TestProcess;

  private constructor(systemd: Systemd, shell: TestProcess) {
    this.#systemd = systemd;
    this.#shell = shell;
  }

  /** `shared` is /mnt on all of them. */
  static async start(name: string, host: TestHost, shared: string): Promise<WalkthroughHost> {
    const systemd = await Systemd.start(host, {
      units: {
        "docker.service": DOCKER_SERVICE,
        "docker.socket": DOCKER_SOCKET,
        ...Object.fromEntries(JOURNAL.map((unit) => [unit, readFileSync(join(UNITS, unit), "utf8")])),
      },
      programs: {},
      settings: {},
      writable: ["/etc", "/usr/local", "/var", "/root"],
      hasContainers: true,
    });
    const shell = host.start("nsenter", ["--target", String(systemd.pid), "--all", "bash", "--norc"], {
      env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" },
    });
    const started = new WalkthroughHost(systemd, shell);
    const image = await copyImage(host, systemd.pid);
    // No registry is in reach: the image is there when the first container is started.
    await started.#type(
      `hostname ${name}; mount --bind ${shared} /mnt; mkdir -p /etc/docker; echo '{"storage-driver": "vfs"}' >/etc/docker/daemon.json
       systemctl start systemd-journald.socket systemd-journald-dev-log.socket docker.socket
       docker() {
         if [ "$1" = run ] && ! command docker image inspect busybox >/dev/null 2>&1; then
           command docker import ${image} busybox >/dev/null
         fi
         command docker "$@"
       }`,
    );
    return started;
  }

  /** A terminal on a machine whose forwarding is off: where Docker switches it on, it drops what it does not know. */
  async beginPage(): Promise<void> {
    await this.#type("cd; sysctl -qw net.ipv4.ip_forward=0; iptables -P FORWARD ACCEPT");
  }

  /** Types the command of a step, and fails unless it prints what the step promises. */
  async follow(step: Step, addresses: Addresses, place: string): Promise<void> {
    const command = addresses.in(step.command);
    const endMs = performance.now() + DEADLINE_MS;
    for (;;) {
      const output = await this.#type(command);
      if (addresses.fits(step.output, output)) return;
      if (!READS.test(command) || performance.now() > endMs) {
        const log = this.#systemd.tail();
        throw new Error(
          `${place}: ${command}\n--- expected\n${step.output}\n--- printed\n${output}\n---\n${log}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#shell[Symbol.asyncDispose]();
    await this.#systemd[Symbol.asyncDispose]();
  }

  /** What a command printed to stdout and stderr, without the last line end, and spaces at the ends of lines. */
  async #type(command: string): Promise<string> {
    const shell = this.#shell;
    const start = shell.stdout.length;
    shell.stdin.write(`{\n${command}\n} 2>&1 </dev/null\necho '${END}'\n`);
    const end = () => shell.stdout.indexOf(`${END}\n`, start);
    await shell.brings(`the end of: ${command}`, () => end() >= 0, 60_000);
    return shell.stdout
      .slice(start, end())
      .replace(/\r?\n$/, "")
      .replace(/[ \t]+$/gm, "");
  }
}

/** An image of busybox, from this machine's static one, in the /run of that process. Its path there. */
async function copyImage(host: TestHost, pid: number): Promise<string> {
  const root = join(host.directory, "image");
  const bin = join(root, "bin");
  mkdirSync(bin, { recursive: true });
  copyFileSync("/bin/busybox", join(bin, "busybox"));
  for (const applet of APPLETS) linkSync(join(bin, "busybox"), join(bin, applet));
  await exec("tar", ["-C", root, "-cf", `/proc/${pid}/root/run/busybox.tar`, "."]);
  return "/run/busybox.tar";
}
