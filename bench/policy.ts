/**
 * Network policies on a node with 10,000 pods and 1,000 policies in the cluster, all of which concern the node: changes until
 * they are in the kernel, memory, and what packets cost. The node forwards between two pods:
 *
 *      a 10.16.0.1 ──── node (our table) ──── 10.16.0.2 b
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../src/base/logger.ts";
import { runCommand } from "../src/linux/exec.ts";
import { withNetns } from "../src/linux/netns.ts";
import { writeSysctl } from "../src/linux/sysctl.ts";
import { PolicyCompiler } from "../src/policy/compile.ts";
import type { DesiredFilter } from "../src/policy/model.ts";
import { PolicyFilter } from "../src/policy/policy-filter.ts";
import { Namespace } from "./support/bed.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { type Measurement, median, quantile } from "./support/measurement.ts";
import { addressOf, largeInput, PODS, POLICIES, podOf, policyOf } from "./support/policy-cluster.ts";
import { tcp } from "./support/traffic.ts";
import { processorMs } from "./support/usage.ts";

const CHANGES = 200;
const CHANGE_BAR_MS = 100;
const MEMORY_BAR_MB = 40;
const THROUGHPUT_BAR = 0.97;
const CONNECTIONS_BAR = 0.9;
const SECONDS = 2;
/** As flanneld runs (deploy/image/Dockerfile). */
const NODE_FLAGS = ["--expose-gc", "--max-semi-space-size=2", "--v8-pool-size=1"];
const SIZE = `${PODS.toLocaleString("en-US")} pods, ${POLICIES.toLocaleString("en-US")} policies`;

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

export const policy: Benchmark = {
  name: "policy",
  async run(context) {
    using node = new Namespace("pol-node");
    using a = new Namespace("pol-a");
    using b = new Namespace("pol-b");
    // As every node that flanneld masquerades on: connections are tracked, with and without policies.
    node.run(
      "nft",
      "add table ip masq; add chain ip masq post { type nat hook postrouting priority srcnat; }; add rule ip masq post ip saddr 10.16.0.0/12 ip daddr != 10.0.0.0/8 masquerade",
    );
    connect(node, a, 1);
    connect(node, b, 2);
    writeSysctl("ipv4/ip_forward", "1", { netns: node.path });
    let scripts = 0;
    const filter = new PolicyFilter({
      exec: {
        run: (command, args, stdin) => {
          if (stdin !== undefined) scripts++;
          return withNetns(node.path, () => runCommand(command, args, stdin));
        },
      },
      logger: silentLogger,
      digest,
    });
    const input = largeInput();
    const compiler = new PolicyCompiler(digest);
    const changes = new Map<string, number[]>();
    const apply = async (name: string, change: () => void) => {
      change();
      const start = performance.now();
      const filterNow = compiler.compile({
        ...input,
        pods: new Map(input.pods),
        policies: new Map(input.policies),
      });
      await filter.ensure(filterNow);
      const took = performance.now() - start;
      const list = changes.get(name);
      if (list === undefined) changes.set(name, [took]);
      else list.push(took);
    };
    const measurements: Measurement[] = [];
    context.progress(SIZE);
    await apply("first", () => {});
    scripts = 0;
    for (let index = 0; index < CHANGES; index++) {
      await apply("policy", () => {
        const changed = policyOf(index, 1000 + index);
        input.policies.set(`${changed.namespace}/${changed.name}`, changed);
      });
      await apply("label", () => {
        const changed = podOf(index * 7, index % 10);
        input.pods.set(`${changed.namespace}/${changed.name}`, changed);
      });
    }
    const transactions = scripts / (2 * CHANGES);
    measurements.push({
      measure: `${SIZE}: from nothing to the kernel`,
      value: changes.get("first")![0]!,
      unit: "ms",
    });
    for (const name of ["policy", "label"]) {
      const samples = changes.get(name)!;
      measurements.push(
        { measure: `${SIZE}: ${name} change to the kernel, median`, value: median(samples), unit: "ms" },
        {
          measure: `${SIZE}: ${name} change to the kernel, p99`,
          value: quantile(samples, 0.99),
          unit: "ms",
          bar: CHANGE_BAR_MS,
        },
      );
    }
    measurements.push({ measure: "transactions for each change", value: transactions, unit: "", bar: 1 });
    const adoption = new PolicyFilter({
      exec: { run: (command, args, stdin) => withNetns(node.path, () => runCommand(command, args, stdin)) },
      logger: silentLogger,
      digest,
    });
    const last = compiler.compile(input);
    const start = performance.now();
    const { changeCount } = await adoption.ensure(last);
    measurements.push(
      { measure: "restart: until the table is adopted", value: performance.now() - start, unit: "ms" },
      { measure: "restart: changes written", value: changeCount, unit: "", bar: 0 },
    );
    measurements.push(await memory(), ...(await packets(context, { node, a, b }, filter, last)));
    return measurements;
  },
};

/** A pod with the address that pod `index` of the cluster has. */
function connect(node: Namespace, pod: Namespace, index: number): void {
  const address = addressOf(index);
  node.run("ip", "link", "add", `p${index}`, "type", "veth", "peer", "name", "eth0", "netns", pod.name);
  node.run("ip", "addr", "add", "169.254.1.1/32", "dev", `p${index}`);
  node.run("ip", "link", "set", `p${index}`, "up");
  node.run("ip", "route", "add", address, "dev", `p${index}`);
  pod.run("ip", "addr", "add", `${address}/32`, "dev", "eth0");
  pod.run("ip", "link", "set", "eth0", "up");
  pod.run("ip", "route", "add", "169.254.1.1", "dev", "eth0");
  pod.run("ip", "route", "add", "default", "via", "169.254.1.1");
}

async function memory(): Promise<Measurement> {
  using namespace = new Namespace("pol-mem");
  const script = join(import.meta.dirname, "support/policy-memory.ts");
  const [before, after] = JSON.parse(namespace.run(process.execPath, ...NODE_FLAGS, script)) as [
    number,
    number,
  ];
  return { measure: `${SIZE}: resident memory more`, value: after - before, unit: "MB", bar: MEMORY_BAR_MB };
}

interface Nodes {
  readonly node: Namespace;
  readonly a: Namespace;
  readonly b: Namespace;
}

/** In turn with and without the policies, so that both see the same noise. */
async function packets(
  { turns, progress }: BenchContext,
  { node, a, b }: Nodes,
  filter: PolicyFilter,
  policies: DesiredFilter,
): Promise<Measurement[]> {
  const ends = { from: a, to: b, address: addressOf(2) };
  // Both pods are isolated, and what allows them stands behind all other rules of their chain.
  const chain = [...policies.chains.values()].find(({ direction }) => direction === "ingress")!;
  const guarded: DesiredFilter = {
    ...policies,
    ingress: new Map([...policies.ingress, [addressOf(2), "bench-in"]]),
    egress: new Map([...policies.egress, [addressOf(1), "bench-out"]]),
    chains: new Map([
      ...policies.chains,
      ["bench-in", { ...chain, name: "bench-in", rules: [...chain.rules, { policies: [] }] }],
      [
        "bench-out",
        { ...chain, direction: "egress", name: "bench-out", rules: [...chain.rules, { policies: [] }] },
      ],
    ]),
  };
  using directory = temporaryDirectory();
  const program = join(directory.path, "policy-connects");
  execFileSync("cc", ["-O2", "-o", program, join(import.meta.dirname, "policy-connects.c")]);
  const server = b.spawn(program, ["serve", "8080"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await once(server.stdout!, "data");
    const ratios = { throughput: [] as number[], connections: [] as number[], work: [] as number[] };
    const measure = async () => {
      const throughput = (await tcp(ends, SECONDS, [])).gbitPerSecond;
      const before = processorMs(server.pid!);
      const [count, seconds] = a.run(program, addressOf(2), "8080", String(SECONDS)).split(" ").map(Number);
      const workMs = seconds! * 1000 + processorMs(server.pid!) - before;
      return { throughput, connections: count!, work: workMs / count! };
    };
    for (let turn = 0; turn < turns; turn++) {
      progress(`throughput and connections, ${turn + 1} of ${turns}`);
      node.run("nft", "delete table inet flannel-policy");
      filter.invalidate();
      const open = await measure();
      await filter.ensure(guarded);
      const filtered = await measure();
      ratios.throughput.push(filtered.throughput / open.throughput);
      ratios.connections.push(filtered.connections / open.connections);
      ratios.work.push(filtered.work / open.work);
    }
    const ratio = (measure: string, samples: readonly number[], leastBar?: number): Measurement => ({
      ...{ measure, value: median(samples), unit: "×", samples, leastBar },
    });
    return [
      ratio("allowed stream, × of no policies", ratios.throughput, THROUGHPUT_BAR),
      ratio("connections per second, × of no policies", ratios.connections, CONNECTIONS_BAR),
      ratio("processor time of both ends per connection, × of no policies", ratios.work),
    ];
  } finally {
    server.kill("SIGKILL");
  }
}

function temporaryDirectory(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), `flannel-bench-policy-${process.pid}-`));
  const remove = () => rmSync(path, { recursive: true, force: true });
  process.once("exit", remove);
  return {
    path,
    [Symbol.dispose]() {
      process.removeListener("exit", remove);
      remove();
    },
  };
}
