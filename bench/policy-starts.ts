/**
 * Starts of pods on a node of a cluster with 5,000 pods whose labels change all the time: how long the CNI plugin's ADD waits for
 * a pod's policies, and packets on the wrong side of them. Packets are sent all the time, to and from the pod's address: before it
 * starts, while ADD waits, and after. Addresses are used again, by pods with other policies. BENCH_POD_STARTS=100 starts fewer.
 *
 *     this process: API server, packets of all pods ──TUN── node (a flanneld that enforces policies only)
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { nodeSystem } from "../src/cni/node-system.ts";
import { readParameters } from "../src/cni/parameters.ts";
import { parsePluginConfig } from "../src/cni/plugin-config.ts";
import { awaitPolicies } from "../src/cni/pod-policy.ts";
import { KubeApiServer } from "../src/kube-server/kube-api-server.ts";
import { makeNetworkPolicy, makeNode, makePod } from "../src/kube-server/objects/node-object.ts";
import { withNetns } from "../src/linux/netns.ts";
import { PolicyBed } from "../test/netns/policy-bed.ts";
import type { Benchmark } from "./support/benchmark.ts";
import { type Measurement, median, quantile } from "./support/measurement.ts";
import { waitFor } from "./support/wait.ts";

const STARTS = Number(process.env.BENCH_POD_STARTS ?? 1_000);
const PODS = 5_000;
const WAIT_BAR_MS = 50;
/** Of a busy cluster: labels of pods change, many times a second. */
const CHANGE_EVERY_MS = 20;
/** Pods that run at one time; then their addresses are given to others. */
const RUNNING = 100;
const NODE = "bench-node";
const [FRIEND, STRANGER] = ["10.20.1.1", "10.20.1.2"] as const;

export const policyStarts: Benchmark = {
  name: "policy-starts",
  async run({ bed, flanneld, progress }) {
    await using cleanup = new AsyncDisposableStack();
    const node = new PolicyBed({ after: (clean) => cleanup.defer(clean) });
    connect(node);
    const api = cleanup.use(await KubeApiServer.start({ host: bed.address, historyLength: 20_000 }));
    progress(`a cluster with ${PODS} pods`);
    fillCluster(api);
    const directory = mkdtempSync(join(tmpdir(), "bench-policy-"));
    cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
    const child = startFlanneld(flanneld, node, api, directory);
    cleanup.defer(() => stop(child));
    process.once("exit", () => child.kill("SIGKILL"));
    const isFiltering = () => {
      const packet = { source: FRIEND, destination: "10.20.0.250", protocol: "TCP", sourcePort: 9, port: 80 };
      return node.send([packet])[0] ? undefined : true;
    };
    await waitFor("flanneld to filter", isFiltering, { deadlineMs: 60_000 });
    const changes = setInterval(() => changeSomePod(api), CHANGE_EVERY_MS);
    cleanup.defer(() => clearInterval(changes));
    return await startPods(node, api, directory, progress);
  },
};

/** The node reaches the API server over the bed's bridge. */
function connect({ netns }: PolicyBed): void {
  const port = "policy0";
  execFileSync("ip", ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns.name]);
  execFileSync("ip", ["link", "set", port, "up", "master", "br0"]);
  netns.run("ip", "address", "add", "192.168.250.9/16", "dev", "eth0");
  netns.run("ip", "link", "set", "eth0", "up");
  // Packets of the bench are connections that nobody answers: without this there would be hundreds of thousands of them.
  netns.run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_syn_sent=1");
}

function fillCluster(api: KubeApiServer): void {
  api.nodes.create(makeNode(NODE, { podCIDRs: ["10.20.0.0/24"] }));
  for (let index = 0; index < PODS; index++) {
    api.pods.create(
      makePod(`pod-${index}`, {
        ...{ nodeName: `n${index % 100}`, labels: { app: index === 0 ? "friend" : `app-${index % 50}` } },
        podIPs: [index < 2 ? [FRIEND, STRANGER][index]! : `10.21.${index >> 8}.${index & 255}`],
      }),
    );
  }
  const peer = [{ podSelector: { matchLabels: { app: "friend" } } }];
  api.networkPolicies.create(
    makeNetworkPolicy("guarded", {
      podSelector: { matchLabels: { kind: "guarded" } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: peer }],
      egress: [{ to: peer }],
    }),
  );
  // Further policies whose peers change with the labels of the cluster.
  for (let index = 0; index < 50; index++) {
    api.networkPolicies.create(
      makeNetworkPolicy(`app-${index}`, {
        podSelector: { matchLabels: { kind: "open" } },
        ingress: [{}, { from: [{ podSelector: { matchLabels: { app: `app-${index}` } } }] }],
      }),
    );
  }
}

function changeSomePod(api: KubeApiServer): void {
  const index = 2 + Math.floor(Math.random() * (PODS - 2));
  api.pods.patch(`pod-${index}`, { metadata: { labels: { app: `app-${Math.floor(Math.random() * 50)}` } } });
}

function startFlanneld(
  flanneld: string,
  node: PolicyBed,
  api: KubeApiServer,
  directory: string,
): ChildProcess {
  const args = [
    ...["--kube-subnet-mgr", "--network-policy-only", `--kube-api-url=${api.url}`],
    ...[`--subnet-file=${join(directory, "subnet.env")}`, "--status-listen=off"],
  ];
  const env = { ...process.env, NODE_NAME: NODE };
  return withNetns(node.netns.path, () =>
    spawn(flanneld, args, { env, stdio: ["ignore", "ignore", "inherit"] }),
  );
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}

async function startPods(
  node: PolicyBed,
  api: KubeApiServer,
  directory: string,
  progress: (text: string) => void,
): Promise<Measurement[]> {
  const waitsMs: number[] = [];
  const floorsMs: number[] = [];
  node.nft("add", "table", "inet", "floor");
  node.nft("add", "set", "inet", "floor", "pods", "{ type ipv4_addr; }");
  let sent = 0;
  let passedTooEarly = 0;
  let passedThough = 0;
  let lost = 0;
  let port = 10_000;
  /** Each of the four packets; what passes of them. */
  const probe = (address: string): readonly boolean[] => {
    const pairs = [
      [FRIEND, address],
      [address, FRIEND],
      [STRANGER, address],
      [address, STRANGER],
    ] as const;
    sent += pairs.length;
    return node.send(
      pairs.map(([source, destination]) => {
        port = port >= 60_000 ? 10_000 : port + 1;
        return { source, destination, protocol: "TCP", sourcePort: port, port: 80 };
      }),
    );
  };
  for (let index = 0; index < STARTS; index++) {
    const isGuarded = index % 3 !== 0;
    const name = `start-${index}`;
    const address = `10.20.0.${2 + (index % (2 * RUNNING))}`;
    const before = index - RUNNING;
    if (before >= 0) {
      const gone = `10.20.0.${2 + (before % (2 * RUNNING))}`;
      api.pods.delete(`start-${before}`);
      await waitFor(`the address of start-${before} to be closed`, () =>
        probe(gone).includes(true) ? undefined : true,
      );
    }
    floorsMs.push(await addElementMs(node, `10.0.${index >> 8}.${index & 255}`));
    passedTooEarly += probe(address).filter(Boolean).length;
    api.pods.create(makePod(name, { nodeName: NODE, labels: { kind: isGuarded ? "guarded" : "open" } }));
    let isOver = false;
    const startedMs = performance.now();
    const adding = add(directory, name, address).finally(() => {
      waitsMs.push(performance.now() - startedMs);
      isOver = true;
    });
    while (!isOver) {
      // Rules and address become effective in one moment: a stranger's packet never passes to a guarded pod.
      const [, , toPod, fromPod] = probe(address);
      if (isGuarded && (toPod || fromPod)) passedThough++;
      await delay(1);
    }
    await adding;
    const [toFriend, fromFriend, toStranger, fromStranger] = probe(address);
    if (!toFriend || !fromFriend) lost++;
    if (isGuarded && (toStranger || fromStranger)) passedThough++;
    if (!isGuarded && !(toStranger && fromStranger)) lost++;
    api.pods.patch(name, { status: { podIP: address, podIPs: [{ ip: address }] } });
    if ((index + 1) % 100 === 0) progress(`${index + 1} of ${STARTS} pods started`);
  }
  const what = `${STARTS.toLocaleString("en-US")} pod starts, cluster of ${PODS.toLocaleString("en-US")} pods`;
  return [
    {
      measure: `${what}: CNI ADD's wait, p99`,
      value: quantile(waitsMs, 0.99),
      floor: quantile(floorsMs, 0.99),
      unit: "ms",
      bar: WAIT_BAR_MS,
    },
    { measure: "the same, median", value: median(waitsMs), floor: median(floorsMs), unit: "ms" },
    { measure: "packets that passed before the pod's policies did", value: passedTooEarly, unit: "", bar: 0 },
    { measure: "packets that passed though a policy forbids them", value: passedThough, unit: "", bar: 0 },
    { measure: "starts after which an allowed packet did not pass", value: lost, unit: "", bar: 0 },
    { measure: "packets sent", value: sent, unit: "" },
  ];
}

/** The cheapest change of nftables by nft, in the same moments. */
async function addElementMs({ exec }: PolicyBed, address: string): Promise<number> {
  const startedMs = performance.now();
  await exec.run("nft", ["-f", "-"], `add element inet floor pods { ${address} }\n`);
  return performance.now() - startedMs;
}

/** What the plugin does after its delegate has made the interface. */
async function add(directory: string, name: string, address: string): Promise<void> {
  const config = {
    name: "cbr0",
    type: "flannel",
    failClosed: true,
    subnetFile: join(directory, "subnet.env"),
  };
  const environment = {
    ...{
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: name,
      CNI_NETNS: "/none",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/none",
    },
    CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`,
  };
  await awaitPolicies(
    {
      parameters: readParameters(environment),
      config: parsePluginConfig(JSON.stringify(config)),
      ...{ environment, system: nodeSystem(), log() {} },
    },
    JSON.stringify({ ips: [{ address: `${address}/24` }] }),
  );
}
