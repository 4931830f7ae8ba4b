/**
 * The users' scenario: hosts that get their subnet from flanneld and give it to Docker, as their units do:
 * flanneld → subnet.env → mk-docker-opts.sh → dockerd $DOCKER_NETWORK_OPTIONS → a container.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeSysctl } from "../../src/linux/sysctl.ts";
import { type Container, DockerEngine, lockFileOf } from "./docker.ts";
import { startEtcdOn, type TestHost, TestHosts } from "./hosts.ts";
import type { TestProcess } from "./process.ts";
import { FLANNELD } from "./programs.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MK_DOCKER_OPTS = join(ROOT, "deploy/docker/mk-docker-opts.sh");

const ETCD_PREFIX = "/docker/network";
const NETWORK = "10.2.0.0/16";
/** As people write it: keys in any case. */
const networkConfig = (backend: string): string => `{
  "network": "${NETWORK}",
  "SubnetLen": 24,
  "Backend": {
     "Type": "${backend}"
  }
}
`;
const CONTAINER = "c1";

/** Two hosts, or as many as wanted, with everything running. `flags` are for flanneld. */
export async function startDockerHosts(
  label: string,
  flags: readonly string[] = [],
  count = 2,
  backend = "vxlan",
): Promise<AsyncDisposable & { readonly hub: TestHost; readonly hosts: readonly DockerHost[] }> {
  await using stack = new AsyncDisposableStack();
  const bed = stack.use(new TestHosts(label, count));
  const { endpoint } = await startEtcdOn(bed.hub);
  await putNetworkConfig(bed.hub, endpoint, backend);
  const hosts = await Promise.all(
    bed.hosts.map(async (host) => {
      const dockerHost = new DockerHost(host, endpoint, flags);
      stack.use(dockerHost);
      await dockerHost.startFlanneld();
      await dockerHost.startDocker();
      return dockerHost;
    }),
  );
  const owned = stack.move();
  return { hub: bed.hub, hosts, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() };
}

/** Writes the network config into etcd. */
export async function putNetworkConfig(
  hub: TestHost,
  etcdEndpoint: string,
  backend = "vxlan",
): Promise<void> {
  await hub.run("etcdctl", ["--endpoints", etcdEndpoint, "put", `${ETCD_PREFIX}/config`], {
    input: networkConfig(backend),
    env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
  });
}

export class DockerHost implements AsyncDisposable {
  readonly host: TestHost;
  readonly subnetFile: string;
  readonly #flags: readonly string[];
  #flanneld: TestProcess | undefined;
  #engine: DockerEngine | undefined;
  #container: Container | undefined;

  constructor(host: TestHost, etcdEndpoint: string, flags: readonly string[]) {
    this.host = host;
    // As on a fresh machine: Docker switches forwarding on, and only then sets FORWARD to DROP.
    writeSysctl("ipv4/ip_forward", "0", { netns: host.netns });
    this.subnetFile = join(host.directory, "run/flannel/subnet.env");
    this.#flags = [
      `-etcd-endpoints=${etcdEndpoint}`,
      "-iface=eth0",
      `-etcd-prefix=${ETCD_PREFIX}`,
      `-subnet-file=${this.subnetFile}`,
      "-log_dir=/var/log",
      "-logtostderr",
      ...flags,
    ];
  }

  get flanneld(): TestProcess {
    return this.#flanneld!;
  }

  get engine(): DockerEngine {
    return this.#engine!;
  }

  get container(): Container {
    return this.#container!;
  }

  /** Starts flanneld and waits until it is ready. */
  async startFlanneld(): Promise<void> {
    const flanneld = this.launchFlanneld();
    await flanneld.brings("flanneld ready", () => flanneld.stderr.includes("flanneld is ready"), 20_000);
  }

  /** Starts flanneld. */
  launchFlanneld(env: Readonly<Record<string, string>> = {}): TestProcess {
    const lock = { XTABLES_LOCKFILE: lockFileOf(this.host) };
    this.#flanneld = this.host.start(FLANNELD, this.#flags, { env: { ...lock, ...env } });
    return this.#flanneld;
  }

  /** Starts Docker with what flanneld wrote, and the container, which is the same one after a restart. */
  async startDocker(): Promise<void> {
    const options = await this.dockerOptions();
    const isFirst = this.#engine === undefined;
    this.#engine = await DockerEngine.start(this.host, options);
    if (isFirst) await this.#engine.importImage();
    this.#container = isFirst ? await this.#engine.run(CONTAINER) : await this.#engine.container(CONTAINER);
  }

  /** A value of subnet.env: `variable("FLANNEL_MTU")`. */
  variable(name: string): string {
    return new RegExp(`^${name}=(.*)$`, "m").exec(readFileSync(this.subnetFile, "utf8"))![1]!;
  }

  /** Runs a program on the host. */
  run(program: string, ...args: string[]): Promise<string> {
    return this.host.run(program, args, {
      env: { PATH: process.env.PATH, XTABLES_LOCKFILE: lockFileOf(this.host) },
    });
  }

  /** Runs mk-docker-opts.sh. What `$DOCKER_NETWORK_OPTIONS` in a unit becomes: the words of the value that it wrote. */
  async dockerOptions(): Promise<string[]> {
    const file = join(this.host.directory, "etc/sysconfig/docker-network");
    await this.run(MK_DOCKER_OPTS, "-k", "DOCKER_NETWORK_OPTIONS", "-d", file, "-f", this.subnetFile);
    const value = /^DOCKER_NETWORK_OPTIONS="(.*)"$/m.exec(readFileSync(file, "utf8"))![1]!;
    return value.trim().split(/ +/);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine?.[Symbol.asyncDispose]();
    await this.#flanneld?.[Symbol.asyncDispose]();
  }
}
