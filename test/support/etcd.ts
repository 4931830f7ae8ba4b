/**
 * A real etcd (Debian's etcd-server and etcd-client) on free loopback ports with its own directory: plain or with TLS,
 * with users on demand. Killed and removed when disposed.
 */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import type { Certificates } from "./certificates.ts";

const START_DEADLINE_MS = 60_000;

export interface EtcdServerOptions {
  /** Serve TLS with these; `clientCertificates`: every client must present one. */
  readonly tls?: { readonly certificates: Certificates; readonly clientCertificates: boolean };
  /** Further flags of etcd. */
  readonly flags?: readonly string[];
}

export interface EtcdServer extends AsyncDisposable {
  /** "http://127.0.0.1:41234", with https if TLS is on. */
  readonly endpoint: string;
  /** Runs etcdctl (API 3) on it and returns what it printed. */
  ctl(...args: string[]): Promise<string>;
  /** Kills it (SIGKILL); the data stay. */
  kill(): Promise<void>;
  /** Starts it again after {@link kill}, same port and data. */
  start(): Promise<void>;
  /** Starts it again with empty data. */
  startEmpty(): Promise<void>;
  /** Suspends it without closing connections (SIGSTOP), and resumes it. */
  freeze(): void;
  thaw(): void;
  /** Switches authentication on: `root` with this password, and `user`, who has access to keys below `prefix`. */
  enableAuth(user: string, password: string, prefix: string): Promise<void>;
}

export async function startEtcd(options: EtcdServerOptions = {}): Promise<EtcdServer> {
  const directory = mkdtempSync(join(tmpdir(), `flannel-etcd-${process.pid}-`));
  const [clientPort, peerPort] = await Promise.all([freePort(), freePort()]);
  const scheme = options.tls === undefined ? "http" : "https";
  const endpoint = `${scheme}://127.0.0.1:${clientPort}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  const certificates = options.tls?.certificates;
  let generation = 0;
  let rootPassword: string | undefined;

  const flags = () => [
    ...["--name", "test", "--data-dir", join(directory, `data${generation}`)],
    ...["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint],
    ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
    ...["--initial-cluster", `test=${peer}`, "--logger", "zap", "--log-outputs", "stderr"],
    // Short elections: starts immediately, and leases may be as short as one second.
    ...["--heartbeat-interval", "10", "--election-timeout", "100"],
    ...(certificates === undefined
      ? []
      : ["--cert-file", certificates.server.cert, "--key-file", certificates.server.key]),
    ...(certificates !== undefined && options.tls?.clientCertificates
      ? ["--client-cert-auth", "--trusted-ca-file", certificates.ca]
      : []),
    ...(options.flags ?? []),
  ];

  let child: ReturnType<typeof launch> | undefined;
  const launch = () => spawn("etcd", flags(), { stdio: ["ignore", "ignore", "pipe"] });

  const server: EtcdServer = {
    endpoint,
    async ctl(...args) {
      const { stdout } = await promisify(execFile)(
        "etcdctl",
        [
          ...["--endpoints", endpoint, "--command-timeout", "10s"],
          ...(certificates === undefined
            ? []
            : [
                "--cacert",
                certificates.ca,
                "--cert",
                certificates.client.cert,
                "--key",
                certificates.client.key,
              ]),
          ...(rootPassword === undefined ? [] : ["--user", `root:${rootPassword}`]),
          ...args,
        ],
        { env: { ...process.env, ETCDCTL_API: "3" } },
      );
      return stdout;
    },
    async start() {
      const started = launch();
      child = started;
      await serving(started);
    },
    async startEmpty() {
      generation++;
      await server.start();
    },
    async kill() {
      const dying = child;
      child = undefined;
      if (dying === undefined || dying.exitCode !== null || dying.signalCode !== null) return;
      const exit = once(dying, "exit");
      dying.kill("SIGKILL");
      await exit;
    },
    freeze: () => void child?.kill("SIGSTOP"),
    thaw: () => void child?.kill("SIGCONT"),
    async enableAuth(user, password, prefix) {
      await server.ctl("user", "add", `root:${password}`);
      await server.ctl("user", "grant-role", "root", "root");
      await server.ctl("role", "add", "flannel");
      await server.ctl("role", "grant-permission", "flannel", "readwrite", "--prefix=true", `${prefix}/`);
      await server.ctl("user", "add", `${user}:${password}`);
      await server.ctl("user", "grant-role", user, "flannel");
      await server.ctl("auth", "enable");
      rootPassword = password;
    },
    async [Symbol.asyncDispose]() {
      process.off("exit", killNow);
      await server.kill();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  // Also when a test file dies without disposing.
  const killNow = () => {
    child?.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  };
  process.on("exit", killNow);
  try {
    await server.start();
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return server;
}

/** An unused TCP port of the loopback. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function serving(child: ReturnType<typeof spawn>): Promise<void> {
  const lines: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (reason: string) => reject(new Error(`etcd ${reason}:\n${lines.slice(-15).join("\n")}`));
  const timer = setTimeout(() => fail("does not serve"), START_DEADLINE_MS);
  child.once("error", (error) => fail(String(error)));
  child.once("exit", (code) => fail(`exited with ${code}`));
  createInterface({ input: child.stderr! }).on("line", (line) => {
    lines.push(line);
    if (lines.length > 100) lines.shift();
    if (/serving (insecure )?client (traffic|requests)/.test(line)) resolve();
  });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
  }
}
