/**
 * A host with a container, a container of another host and a server outside, each a network namespace:
 *
 *      c1 10.5.1.2 ──── 10.5.1.1 cni0 ┐                ┌ eth0 192.0.2.1 ──── 192.0.2.2 outside
 *         fd05:0:1::2   fd05:0:1::1   ├───── host ─────┤      2001:db8::1    2001:db8::2
 *                                     │                │
 *                                     └ (the firewall) └ flannel.1 10.5.1.0 ──── 10.5.2.2    c2
 *                                                                  fd05:0:1::    fd05:0:2::2
 *
 * The network is 10.5.0.0/16 and fd05::/32, this host's subnet 10.5.1.0/24 and fd05:0:1::/64. “flannel.1” is a veth here:
 * the firewall sees only addresses and devices. `outside` has a route to the host's subnet, so that a packet
 * that was not masqueraded is answered too and is recognized by its source.
 */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parsePrefix } from "../../src/address/prefix.ts";
import type { CommandResult, FirewallExec } from "../../src/firewall/firewall-exec.ts";
import { type FirewallIntent, firewallRules } from "../../src/firewall/rules.ts";
import type { AgentRequest } from "./firewall-agent.ts";

export const INTENT: FirewallIntent = {
  ipv4: { network: parsePrefix("10.5.0.0/16")!, subnet: parsePrefix("10.5.1.0/24")! },
  ipv6: { network: parsePrefix("fd05::/32")!, subnet: parsePrefix("fd05:0:1::/64")! },
  ipMasq: true,
  forwardRules: true,
  randomFully: true,
};
export const RULES = firewallRules(INTENT);

/** The ways to hold the rules, as options of the firewall. */
export const VARIANTS = [
  { name: "nftables", options: { mode: "nftables" } },
  { name: "iptables-nft", options: { mode: "iptables", iptablesSuffix: "-nft" } },
  { name: "iptables-legacy", options: { mode: "iptables", iptablesSuffix: "-legacy" } },
] as const;

export type NodeName = "host" | "c1" | "c2" | "outside";

let bedCount = 0;

/** The exec port into a namespace, which remembers what it ran. */
export interface RecordingExec extends FirewallExec {
  readonly commands: string[];
}

export class FirewallBed {
  readonly exec: RecordingExec;
  readonly lockFile: string;
  readonly #prefix = `fw${process.pid}-${bedCount++}`;
  readonly #directory = mkdtempSync(join(tmpdir(), "flannel-firewall-"));
  readonly #agents = new Map<NodeName, Agent>();
  readonly #nodes: readonly NodeName[];

  /** Only the host, or with all that it talks to. */
  static async create(kind: "host" | "all"): Promise<FirewallBed> {
    const bed = new FirewallBed(kind);
    try {
      await bed.#build(kind);
    } catch (error) {
      await bed[Symbol.asyncDispose]();
      throw error;
    }
    return bed;
  }

  private constructor(kind: "host" | "all") {
    this.#nodes = kind === "all" ? ["host", "c1", "c2", "outside"] : ["host"];
    this.lockFile = join(this.#directory, "xtables.lock");
    const commands: string[] = [];
    this.exec = {
      commands,
      run: (command, args, stdin) => {
        commands.push([command, ...args].join(" "));
        return this.#enter("host", command, args, stdin);
      },
    };
  }

  /** Path of a node's network namespace. */
  path(node: NodeName): string {
    return `/run/netns/${this.#netns(node)}`;
  }

  /** Runs a shell command on the host; anything but success is an error. */
  async host(script: string): Promise<string> {
    const result = await this.#enter("host", "sh", ["-c", script]);
    if (result.code !== 0) throw new Error(`${script}: ${result.stderr}`);
    return result.stdout;
  }

  /** Who the server at `address` says it is talking to; "no answer" if nothing came back. */
  ask(
    node: NodeName,
    address: string,
    more: { port?: number; from?: string; waitMs?: number } = {},
  ): Promise<string> {
    return this.tell(node, { op: "ask", address, port: 7000, waitMs: 3000, ...more });
  }

  tell(node: NodeName, request: AgentRequest): Promise<string> {
    return this.#agents.get(node)!.request(request);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#agents.values()].map((agent) => agent[Symbol.asyncDispose]()));
    for (const node of this.#nodes) await run("ip", ["netns", "del", this.#netns(node)]);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #netns(node: NodeName): string {
    return `${this.#prefix}-${node}`;
  }

  #enter(node: NodeName, command: string, args: readonly string[], stdin?: string): Promise<CommandResult> {
    const net = `--net=/run/netns/${this.#netns(node)}`;
    // a lock of its own: beds in parallel do not wait for each other
    return run("nsenter", [net, "env", `XTABLES_LOCKFILE=${this.lockFile}`, command, ...args], stdin);
  }

  async #build(kind: "host" | "all"): Promise<void> {
    for (const node of this.#nodes) await must("ip", ["netns", "add", this.#netns(node)]);
    await must("ip", ["-n", this.#netns("host"), "link", "set", "lo", "up"]);
    if (kind === "host") return;
    await this.host(
      "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
    );
    for (const [device, node] of [
      ["cni0", "c1"],
      ["flannel.1", "c2"],
      ["eth0", "outside"],
    ] as const) {
      const peer = ["peer", "name", "eth0", "netns", this.#netns(node)];
      await must("ip", ["-n", this.#netns("host"), "link", "add", device, "type", "veth", ...peer]);
    }
    for (const node of this.#nodes)
      await must("ip", ["-n", this.#netns(node), "-batch", "-"], ADDRESSES[node]);
    await Promise.all(
      this.#nodes.map(async (node) => {
        const agent = new Agent(["nsenter", `--net=/run/netns/${this.#netns(node)}`, process.execPath]);
        this.#agents.set(node, agent);
        await agent.ready;
      }),
    );
  }
}

const ADDRESSES: Readonly<Record<NodeName, string>> = {
  host: `
    addr add 10.5.1.1/24 dev cni0
    addr add fd05:0:1::1/64 dev cni0 nodad
    addr add 10.5.1.0/32 dev flannel.1
    addr add fd05:0:1::/128 dev flannel.1 nodad
    addr add 192.0.2.1/24 dev eth0
    addr add 2001:db8::1/64 dev eth0 nodad
    link set cni0 up
    link set flannel.1 up
    link set eth0 up
    route add 10.5.2.0/24 dev flannel.1
    route add fd05:0:2::/64 dev flannel.1`,
  c1: `
    addr add 10.5.1.2/24 dev eth0
    addr add fd05:0:1::2/64 dev eth0 nodad
    link set eth0 up
    route add default via 10.5.1.1
    route add default via fd05:0:1::1`,
  c2: `
    addr add 10.5.2.2/24 dev eth0
    addr add fd05:0:2::2/64 dev eth0 nodad
    link set eth0 up
    route add 10.5.1.0/32 dev eth0
    route add 10.5.0.0/16 via 10.5.1.0
    route add fd05:0:1::/128 dev eth0
    route add fd05::/32 via fd05:0:1::`,
  outside: `
    addr add 192.0.2.2/24 dev eth0
    addr add 2001:db8::2/64 dev eth0 nodad
    link set lo up
    link set eth0 up
    route add 10.5.1.0/24 via 192.0.2.1
    route add fd05:0:1::/64 via 2001:db8::1`,
};

/** The helper process in a namespace. */
class Agent {
  readonly ready: Promise<unknown>;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #waiting = new Map<number, (answer: string) => void>();
  #lastId = 0;

  constructor([command, ...args]: readonly string[]) {
    const script = join(import.meta.dirname, "firewall-agent.ts");
    this.#child = spawn(command!, [...args, script], { stdio: ["pipe", "pipe", "inherit"] });
    this.#ended = new Promise((resolve) => this.#child.once("close", () => resolve()));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#child.once("error", reject);
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      const message = JSON.parse(line) as { ready?: true; id?: number; answer?: string };
      if (message.ready) resolve();
      else this.#waiting.get(message.id!)?.(message.answer!);
    });
  }

  request(request: AgentRequest): Promise<string> {
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#waiting.set(id, resolve);
    this.#child.stdin!.write(`${JSON.stringify({ id, ...request })}\n`);
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin!.end();
    await this.#ended;
  }
}

async function must(command: string, args: readonly string[], stdin?: string): Promise<void> {
  const result = await run(command, args, stdin);
  if (result.code !== 0) throw new Error(`${command} ${args.join(" ")}: ${result.stderr}`);
}

/** Runs a command to its end. `env` and `nsenter` report a missing command as 127. */
function run(command: string, args: readonly string[], stdin?: string): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = execFile(command, args, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 128;
      if (error?.code === "ENOENT" || code === 127)
        reject(Object.assign(new Error(stderr), { code: "ENOENT" }));
      else resolve({ code, stdout, stderr, pid: child.pid });
    });
    child.stdin?.on("error", () => {}); // the command may end without having read it all
    child.stdin?.end(stdin ?? "");
  });
}
