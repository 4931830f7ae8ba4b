/** A Kubernetes cluster for benchmarks: the API server in a process of its own, and what flanneld has of it in a pod. */

import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificate } from "../../src/lab/clusters/certificate.ts";
import { withServiceAccount } from "../../test/support/pod-view.ts";
import type { PodSettings } from "./daemon.ts";
import type { KubeCalls } from "./kube-process.ts";
import { NETWORK_CONFIG, peerAt, peerName } from "./peers.ts";
import { within } from "./wait.ts";

const CALL_DEADLINE_MS = 180_000;

type Name = keyof KubeCalls;

/** Of a call that is under way. */
interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

export class BenchKube implements AsyncDisposable {
  /** Holds the service account's files: ca.crt and token. */
  readonly account: string;
  readonly #server: ChildProcess;
  readonly #children: ChildProcess[] = [];
  readonly #agent: Agent;
  readonly #address: string;
  #port = 0;
  #headers: Readonly<Record<string, string>> = {};
  #calls = 0;
  readonly #waiting = new Map<number, Waiting>();

  /** Serves at this address of the own namespace. */
  static async start(address: string): Promise<BenchKube> {
    const directory = mkdtempSync(join(tmpdir(), `flannel-bench-kube-${process.pid}-`));
    process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
    const { cert, key } = await makeCertificate(directory, "bench", address);
    const kube = new BenchKube(address, directory, cert);
    const token = randomBytes(600).toString("base64url"); // a service account's has some 1,000 characters
    writeFileSync(join(directory, "ca.crt"), cert);
    writeFileSync(join(directory, "token"), token);
    writeFileSync(join(directory, "net-conf.json"), NETWORK_CONFIG);
    kube.#port = await kube.call("start", { host: address, cert, key, token });
    kube.#headers = { authorization: `Bearer ${token}` };
    return kube;
  }

  private constructor(address: string, directory: string, ca: string) {
    this.#address = address;
    this.account = directory;
    this.#agent = new Agent({ ca, keepAlive: true });
    this.#server = this.#fork("kube-process.ts", []);
    this.#server.on("message", ({ id, value, error }: Answer) => {
      if (error === undefined) this.#waiting.get(id)?.resolve(value);
      else this.#waiting.get(id)?.reject(new Error(error));
      this.#waiting.delete(id);
    });
    this.#server.once("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the API server has ended"));
    });
  }

  /** Address of the API server in a pod's environment. */
  get environment(): Readonly<Record<string, string>> {
    return { KUBERNETES_SERVICE_HOST: this.#address, KUBERNETES_SERVICE_PORT: String(this.#port) };
  }

  get networkConfigFile(): string {
    return join(this.account, "net-conf.json");
  }

  /** Has the API server's process do something. */
  async call<N extends Name>(
    name: N,
    ...args: Parameters<KubeCalls[N]>
  ): Promise<Awaited<ReturnType<KubeCalls[N]>>> {
    const id = ++this.#calls;
    const { promise, ...waiting } = Promise.withResolvers<Awaited<ReturnType<KubeCalls[N]>>>();
    this.#waiting.set(id, waiting as Waiting);
    this.#server.send({ id, name, args });
    return within(CALL_DEADLINE_MS, name, promise);
  }

  /** How flanneld runs on the node of this name. */
  pod(name: string): PodSettings {
    return {
      flags: ["--kube-subnet-mgr", `--net-config-path=${this.networkConfigFile}`],
      env: { ...this.environment, NODE_NAME: name },
      through: withServiceAccount(this.account),
    };
  }

  /** Opens as many watches as so many flannelds have. */
  async addWatchers(count: number): Promise<void> {
    const url = `https://${this.#address}:${this.#port}`;
    const args = [url, join(this.account, "ca.crt"), join(this.account, "token"), String(count)];
    const child = this.#fork("kube-watchers.ts", args);
    await within(CALL_DEADLINE_MS, "the watchers", once(child, "message"));
  }

  /** Annotates a peer's node through the API as its flanneld does. Returns when the server has answered. */
  async annotate(index: number, generation: number): Promise<void> {
    const body = JSON.stringify({ metadata: { annotations: peerAt(index, generation).annotations } });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const call = request(
      {
        host: this.#address,
        port: this.#port,
        method: "PATCH",
        path: `/api/v1/nodes/${peerName(index)}/status`,
        headers: { ...this.#headers, "content-type": "application/strategic-merge-patch+json" },
        agent: this.#agent,
      },
      (response) => {
        response.resume().on("end", () => {
          if (response.statusCode === 200) resolve();
          else reject(new Error(`a patch was answered with ${response.statusCode}`));
        });
      },
    );
    call.on("error", reject).end(body);
    return promise;
  }

  #fork(file: string, args: readonly string[]): ChildProcess {
    const child = fork(join(import.meta.dirname, file), args, {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    process.once("exit", () => child.kill("SIGKILL"));
    this.#children.push(child);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
    }
    rmSync(this.account, { recursive: true, force: true });
  }
}
