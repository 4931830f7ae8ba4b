/** A flanneld on a host of the bed, restarted when it ends, as systemd would (Restart=always); its log over all runs. */

import { readFileSync } from "node:fs";
import type { TestHost } from "../support/hosts.ts";
import type { TestProcess } from "../support/process.ts";
import { FLANNELD } from "../support/programs.ts";

const HEALTH_PORT = 8285;

export interface Health {
  readonly status: number;
  readonly body: string;
}

export class Daemon {
  /** Path of subnet.env. */
  readonly subnetFile: string;
  readonly #host: TestHost;
  readonly #args: readonly string[];
  readonly #past: string[] = [];
  #process: TestProcess | undefined;
  #isHeld = false;

  constructor(host: TestHost, endpoint: string) {
    this.#host = host;
    this.subnetFile = `${host.directory}/subnet/subnet.env`;
    this.#args = [
      ...[`--etcd-endpoints=${endpoint}`, `--subnet-file=${this.subnetFile}`],
      ...[`--healthz-port=${HEALTH_PORT}`, "--ip-masq"],
    ];
  }

  get pid(): number {
    return this.#process!.pid;
  }

  /** Everything that it has logged, over all runs. */
  get log(): string {
    return [...this.#past, this.#process?.stderr ?? ""].join("");
  }

  start(): void {
    this.#isHeld = false;
    const started = this.#host.start(FLANNELD, this.#args);
    this.#process = started;
    const onEnd = () => {
      if (this.#process !== started) return;
      this.#past.push(started.stderr, started.stdout);
      this.#process = undefined;
      if (!this.#isHeld) this.start();
    };
    started.ended.then(onEnd, onEnd);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal);
  }

  /** Ends it; it stays down until {@link start}. */
  async hold(signal: NodeJS.Signals): Promise<void> {
    this.#isHeld = true;
    await this.#process?.stop(signal);
  }

  /** The answer of the health server; undefined = none. */
  async health(path = "/readyz"): Promise<Health | undefined> {
    const request = `GET ${path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n`;
    const script = `exec 3<>/dev/tcp/127.0.0.1/${HEALTH_PORT} && printf '${request}' >&3 && cat <&3`;
    try {
      const answer = await this.#host.run("timeout", ["2", "bash", "-c", script]);
      const [head, body = ""] = answer.split("\r\n\r\n");
      return { status: Number(head!.split(" ")[1]), body };
    } catch {
      return undefined;
    }
  }

  /** Resident memory in MB (VmRSS, proc(5)); undefined while it does not run. */
  get residentMegabytes(): number | undefined {
    try {
      return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.pid}/status`, "utf8"))![1]) / 1024;
    } catch {
      return undefined;
    }
  }
}
