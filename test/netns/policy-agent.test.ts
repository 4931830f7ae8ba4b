/**
 * Network policies from the API server to the kernel: the agent with a real API server, nft and packets, and starting pods over
 * its socket. All pods are behind two TUN devices of one node (policy-bed.ts).
 */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { messageOf } from "../../src/base/error.ts";
import { systemTimers } from "../../src/base/timers.ts";
import { KubeApiServer } from "../../src/kube-server/kube-api-server.ts";
import { makeNetworkPolicy, makeNode, makePod } from "../../src/kube-server/objects/node-object.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { openNftNotifications } from "../../src/linux/notifications.ts";
import { PolicyAgent } from "../../src/policy-agent/policy-agent.ts";
import { policySource } from "../../src/policy-agent/policy-report.ts";
import { listenOnSocket } from "../../src/status/unix-socket.ts";
import { until } from "../support/until.ts";
import { digest, PolicyBed } from "./policy-bed.ts";

/** For a busy machine. */
const DEADLINE_MS = 20_000;
const NODE = "n1";
class Bed {
  readonly directory: string;
  readonly packets: PolicyBed;
  readonly api: KubeApiServer;
  readonly log: string[] = [];
  readonly repairs: string[] = [];
  agent!: PolicyAgent;
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(t: TestContext, api: KubeApiServer) {
    this.directory = mkdtempSync(join(tmpdir(), `policy-agent-${process.pid}-`));
    t.after(async () => {
      await this.stop();
      await api[Symbol.asyncDispose]();
      rmSync(this.directory, { recursive: true, force: true });
    });
    this.packets = new PolicyBed(t);
    this.api = api;
    writeFileSync(
      join(this.directory, "kubeconfig"),
      JSON.stringify({
        clusters: [{ name: "c", cluster: { server: api.url } }],
        users: [{ name: "u", user: {} }],
        contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
        "current-context": "x",
      }),
    );
  }

  get socket(): string {
    return join(this.directory, "policy.sock");
  }

  start(): void {
    const log = (line: string) => void this.log.push(line);
    this.#stop = new AbortController();
    this.agent = new PolicyAgent(
      {
        kube: {
          ...{ apiUrl: this.api.url, annotationPrefix: "flannel.alpha.coreos.com", netConfigPath: "/none" },
          ...{ nodeName: NODE, timings: { retryMinMs: 20, retryMaxMs: 200 } },
        },
        ...{ recordFile: join(this.directory, "starting.json") },
      },
      {
        logger: { debug() {}, info: log, warn: log, error: log },
        ...{ timers: systemTimers, random: Math.random, environment: {}, exec: this.packets.exec },
        connections: undefined,
        openNftNotifications: () => withNetns(this.packets.netns.path, () => openNftNotifications()),
        listen: (server) => listenOnSocket(server, this.socket),
        readFile: (path) => {
          try {
            return readFileSync(path, "utf8");
          } catch {
            return undefined;
          }
        },
        writeFile: async (path, content) => writeFileSync(path, content),
        onProblem() {},
        onRepair: (what, _tookMs, by) => void this.repairs.push(`${what} by ${by}`),
      },
    );
    this.#running = this.agent.run(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Waits until everything that the API server has now is in the kernel. */
  async settled(): Promise<void> {
    const { keeper } = this.agent;
    const isDone = () => keeper.applied !== undefined && keeper.problem === undefined;
    await until(isDone, "policies in effect", DEADLINE_MS);
  }

  /** Reports a starting pod as the plugin does; undefined = ready. */
  async startPod(name: string, addresses: readonly string[], uid = this.api.pods.get(name)?.metadata.uid) {
    const socket = connect(this.socket);
    socket.write(`${JSON.stringify({ namespace: "default", name, uid, addresses })}\n`);
    try {
      const answer = JSON.parse(await text(socket));
      return answer.ready === true ? undefined : (answer.error as string);
    } catch (error) {
      return messageOf(error); // not listening yet
    }
  }

  /** Whether a connection to TCP 80 passes. */
  passes(source: string, destination: string): boolean {
    const packet = { source, destination, protocol: "TCP", sourcePort: this.#port++, port: 80 };
    return this.packets.send([packet])[0]!;
  }
  #port = 20_000;

  pod(name: string, app: string, podIPs: readonly string[], nodeName = NODE): void {
    this.api.pods.create(makePod(name, { labels: { app }, podIPs, nodeName }));
  }
}

async function makeBed(t: TestContext): Promise<Bed> {
  const api = await KubeApiServer.start();
  const bed = new Bed(t, api);
  api.nodes.create(makeNode(NODE, { podCIDRs: ["10.244.1.0/24", "fd00:1::/64"] }));
  bed.pod("web", "web", ["10.244.1.2", "fd00:1::2"]);
  bed.pod("free", "free", ["10.244.1.3"]);
  bed.pod("client", "client", ["10.244.2.2", "fd00:2::2"], "n2");
  bed.pod("stranger", "stranger", ["10.244.2.3", "fd00:2::3"], "n2");
  api.networkPolicies.create(makeNetworkPolicy("web", WEB));
  bed.start();
  await bed.settled();
  return bed;
}

const WEB = {
  podSelector: { matchLabels: { app: "web" } },
  ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }],
};

const [CLIENT, STRANGER] = ["10.244.2.2", "10.244.2.3"];

test("policies of the API server filter this node's pods; addresses of no pod are closed", async (t) => {
  const bed = await makeBed(t);
  assert.equal(bed.passes(CLIENT, "10.244.1.2"), true);
  assert.equal(bed.passes(STRANGER, "10.244.1.2"), false);
  assert.equal(bed.passes("fd00:2::2", "fd00:1::2"), true);
  assert.equal(bed.passes("fd00:2::3", "fd00:1::2"), false);
  assert.equal(bed.passes(STRANGER, "10.244.1.3"), true, "no policy selects it");
  for (const address of ["10.244.1.9", "10.244.1.254"]) {
    assert.equal(bed.passes(CLIENT, address), false, `to ${address}`);
    assert.equal(bed.passes(address, CLIENT), false, `from ${address}`);
  }
  assert.equal(bed.passes("fd00:2::2", "fd00:1::9"), false);
  assert.equal(bed.passes(CLIENT, "10.244.3.9"), true, "other nodes' addresses are their own business");

  bed.api.networkPolicies.patch("web", { spec: { ingress: [] } });
  await until(async () => !bed.passes(CLIENT, "10.244.1.2"), "the change is enforced", DEADLINE_MS);
  bed.api.pods.patch("web", { metadata: { labels: { app: "free" } } });
  await until(async () => bed.passes(STRANGER, "10.244.1.2"), "the pod is free", DEADLINE_MS);
  bed.api.networkPolicies.create(makeNetworkPolicy("all", { podSelector: {} }));
  await until(async () => !bed.passes(STRANGER, "10.244.1.3"), "all are isolated", DEADLINE_MS);
  bed.api.networkPolicies.delete("all");
  await until(async () => bed.passes(STRANGER, "10.244.1.3"), "none is isolated", DEADLINE_MS);
  assert.deepEqual(bed.repairs, [], "own changes are no drift");
});

test("a starting pod is filtered when the plugin is answered, and its address closed before and after", async (t) => {
  const bed = await makeBed(t);
  bed.pod("new", "web", []);
  const address = "10.244.1.9";
  assert.equal(bed.passes(CLIENT, address), false);
  assert.equal(await bed.startPod("new", [address, "fd00:1::9"]), undefined);
  assert.equal(bed.passes(CLIENT, address), true);
  assert.equal(bed.passes(STRANGER, address), false);
  assert.equal(bed.passes("fd00:2::2", "fd00:1::9"), true, "a second family that the API server never lists");

  bed.api.pods.patch("new", { status: { podIP: address, podIPs: [{ ip: address }] } });
  bed.api.pods.patch("new", { metadata: { labels: { app: "free" } } });
  await until(async () => bed.passes(STRANGER, address), "the label counts", DEADLINE_MS);
  bed.api.pods.delete("new");
  await until(async () => !bed.passes(STRANGER, address), "the address is closed", DEADLINE_MS);

  // Of the address's last pod nothing is left: another pod gets its own rules.
  bed.pod("next", "web", []);
  assert.equal(await bed.startPod("next", [address]), undefined);
  assert.deepEqual([bed.passes(CLIENT, address), bed.passes(STRANGER, address)], [true, false]);

  // The API server still lists it for a pod that has lost it.
  bed.pod("later", "free", []);
  assert.equal(await bed.startPod("later", ["10.244.1.2"]), undefined);
  assert.equal(bed.passes(STRANGER, "10.244.1.2"), true);
});

test("pods that are not in the API server, or other ones there, do not start; a static pod does", async (t) => {
  const bed = await makeBed(t);
  assert.match((await bed.startPod("ghost", ["10.244.1.9"]))!, /pod default\/ghost does not exist/);
  assert.match(
    (await bed.startPod("web", ["10.244.1.9"], "another"))!,
    /has UID \S+ in the API server, not another: it was replaced/,
  );
  bed.api.pods.create(
    makePod("static", { nodeName: NODE, annotations: { "kubernetes.io/config.hash": "f00" } }),
  );
  assert.equal(await bed.startPod("static", ["10.244.1.8"], "f00"), undefined);
  assert.equal(bed.passes(STRANGER, "10.244.1.8"), true);
  assert.equal(bed.passes(STRANGER, "10.244.1.9"), false);
  const socket = connect(bed.socket);
  socket.write('{"namespace":"default","name":"../x","addresses":["10.244.1.9"]}\n');
  assert.match(await text(socket), /name is no name of a pod/);
});

test("a restart changes nothing in the kernel, and remembers pods that were just starting", async (t) => {
  const bed = await makeBed(t);
  bed.pod("new", "web", []);
  assert.equal(await bed.startPod("new", ["10.244.1.9"]), undefined);
  await bed.stop();
  assert.deepEqual([bed.passes(CLIENT, "10.244.1.9"), bed.passes(STRANGER, "10.244.1.9")], [true, false]);
  bed.packets.scripts.length = 0;
  bed.start();
  await bed.settled();
  assert.deepEqual(bed.packets.scripts, []);
  assert.deepEqual([bed.passes(CLIENT, "10.244.1.9"), bed.passes(STRANGER, "10.244.1.9")], [true, false]);
  // A pod that waits for a flanneld that does not know the cluster yet is answered when it does.
  await bed.stop();
  bed.pod("late", "web", []);
  bed.start();
  await until(
    async () => (await bed.startPod("late", ["10.244.1.10"])) === undefined,
    "answer to the starting pod",
    DEADLINE_MS,
  );
  assert.equal(bed.passes(CLIENT, "10.244.1.10"), true);
});

test("a deleted table is repaired, and reported with who did it", async (t) => {
  const bed = await makeBed(t);
  bed.packets.nft("delete", "table", "inet", "flannel-policy");
  await until(async () => !bed.passes(STRANGER, "10.244.1.2"), "it is there again", DEADLINE_MS);
  await until(async () => bed.repairs.length > 0, "it is reported", DEADLINE_MS);
  assert.match(bed.repairs[0]!, /nftables table of network policies \(\d+ changes\) by nft \(pid \d+\)/);
});

test("without the API server what is known stays, and pods that are known start", async (t) => {
  const bed = await makeBed(t);
  bed.pod("known", "web", []);
  await until(
    async () => bed.agent.pods.watched("default/known") !== undefined,
    "the pod is known",
    DEADLINE_MS,
  );
  await bed.api[Symbol.asyncDispose]();
  assert.equal(await bed.startPod("known", ["10.244.1.9"]), undefined);
  assert.deepEqual([bed.passes(CLIENT, "10.244.1.9"), bed.passes(STRANGER, "10.244.1.9")], [true, false]);
  assert.match((await bed.startPod("ghost", ["10.244.1.10"], "u"))!, /API server http:\S+: /);
  assert.equal(bed.passes(STRANGER, "10.244.1.2"), false);
});

test("explain and show answer by the policies, for pods of any node", async (t) => {
  const bed = await makeBed(t);
  const source = policySource(bed.agent, digest);
  const explain = (from: string, to: string, port = "80") =>
    source.explain(from, to, port) as never as {
      isAllowed: boolean;
      fault?: string;
      ends: { allowedBy: string[]; policies: string[]; isIsolated: boolean }[];
    };
  const allowed = explain("client", "default/web");
  assert.deepEqual([allowed.isAllowed, allowed.ends[1]!.allowedBy], [true, ["default/web"]]);
  const denied = explain("stranger", "10.244.1.2");
  assert.deepEqual(
    [denied.isAllowed, denied.ends[1]!.allowedBy, denied.ends[1]!.policies],
    [false, [], ["default/web"]],
  );
  assert.equal(explain("web", "192.0.2.1", "53/udp").isAllowed, true);
  assert.match(explain("nobody", "web").fault!, /no pod "nobody"/);
  assert.match(explain("client", "web", "http").fault!, /"http" is no port/);
  bed.passes(STRANGER, "10.244.1.2");
  const pod = (await source.pod("web")) as never as {
    sides: { direction: string; allows: string[]; deniedPackets: number }[];
  };
  const ingress = pod.sides.find(({ direction }) => direction === "ingress")!;
  assert.match(ingress.allows[0]!, /^from 10\.244\.2\.2 \(default\/web\)$/);
  assert.equal(ingress.deniedPackets, 1);
  const state = (await source.state())!;
  assert.deepEqual([state.isInEffect, state.localPods, state.isolatedPods], [true, 2, 1]);
  assert.equal(state.selecting[0]!.deniedPackets, 1);
  const metric = (await source.metrics()).find(({ name }) => name === "flannel_policy_denied_packets_total");
  assert.deepEqual(metric?.samples, [
    { labels: { direction: "ingress", policies: "default/web" }, value: 1 },
  ]);
});
