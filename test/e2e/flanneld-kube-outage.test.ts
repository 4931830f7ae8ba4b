/**
 * Kubernetes away, and flanneld away: packets flow on, nothing is forgotten, and what has changed meanwhile is there
 * soon after. A device that was lost comes back with the MAC that peers know.
 */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import { answers } from "../netns/agents.ts";
import { askHealth, type Flanneld } from "../support/flanneld.ts";
import { addPod, hasRoute, type KubeBed, type KubeHost, makeKubeBed, NETWORK } from "../support/kube.ts";
import { PingStream } from "../support/ping.ts";
import { until } from "../support/until.ts";

const HEALTH_PORT = 18082;

/** Two hosts with a pod each, and a ping from the first pod to the second. */
async function startPair(t: TestContext, args: readonly string[] = []) {
  const bed = await makeKubeBed(t, 2);
  const [first, second] = bed.hosts as [KubeHost, KubeHost];
  const daemons = await Promise.all([bed.ready(first, { args }), bed.ready(second)]);
  const [from, to] = [addPod(t, first), addPod(t, second)];
  await until(() => answers(from, to.ipv4), "the first answer");
  const ping = new PingStream(from.path, to.ipv4);
  t.after(() => ping[Symbol.asyncDispose]());
  await ping.more(10);
  return { bed, first, second, daemons, ping };
}

async function assertNoneLost(ping: PingStream): Promise<void> {
  await ping.more(20);
  const { sent, lost, repeated } = await ping.stop();
  assert.deepEqual({ lost, repeated }, { lost: [], repeated: [] }, `of ${sent}`);
}

const addPeer = (bed: KubeBed, number: number) =>
  bed.api.nodes.create(
    makeNode(`peer-${number}`, {
      podCIDRs: [`10.244.10${number}.0/24`],
      annotations: {
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/backend-data": `{"VNI":1,"VtepMAC":"0a:00:00:00:01:0${number}"}`,
        "flannel.alpha.coreos.com/public-ip": `192.168.7.10${number}`,
      },
    }),
  );

test("the API server is away for a while: no packet is lost, and who came meanwhile is there when it is back", async (t) => {
  const { bed, first, second, daemons, ping } = await startPair(t, [
    ...["--healthz-ip=127.0.0.1", `--healthz-port=${HEALTH_PORT}`],
  ]);
  for (const { line } of [first, second]) await line.cut();
  for (const flanneld of daemons) await flanneld.logged(/Watch on the nodes in Kubernetes lost/);
  addPeer(bed, 1);
  await ping.more(50);
  const { status, body } = (await askHealth(first, HEALTH_PORT, "/readyz"))!;
  assert.equal(status, 200, "packets flow");
  assert.match(
    body,
    /^flanneld is ready\nwatch on the nodes in Kubernetes lost for \d+ s; using the last known state: API server .*\n$/,
  );
  assert.ok(hasRoute(first, "10.244.2.0/24"), "no peer is dropped");
  for (const { line } of [first, second]) await line.restore();
  for (const flanneld of daemons) await flanneld.logged(/Watch on the nodes in Kubernetes restored/);
  await until(() => hasRoute(first, "10.244.101.0/24"), "the route to who came");
  await assertNoneLost(ping);
});

test("tokens are rotated, and a token that is refused is named, never shown", async (t) => {
  const bed = await makeKubeBed(t, 1);
  const [host] = bed.hosts;
  const flanneld = await bed.ready(host!);
  bed.rotateToken("second-hunter2");
  bed.api.dropWatches();
  addPeer(bed, 1);
  await until(() => hasRoute(host!, "10.244.101.0/24"), "the route by the second token");
  bed.api.setTokens([]);
  bed.api.dropWatches();
  await flanneld.logged(/HTTP 401, Unauthorized.*expired credentials: .*token$/);
  bed.rotateToken("third-hunter2");
  addPeer(bed, 2);
  await until(() => hasRoute(host!, "10.244.102.0/24"), "the route by the third token");
  assert.doesNotMatch(flanneld.log(), /hunter2/);
});

test("a restart loses no packet, after SIGTERM and after SIGKILL, on either end", async (t) => {
  const { bed, first, second, daemons, ping } = await startPair(t);
  const before = [first, second].map((host) => bed.annotations(host));
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    for (const [index, host] of [first, second].entries()) {
      await daemons[index]!.stop(signal);
      await ping.more(20);
      daemons[index] = await bed.ready(host);
    }
  }
  assert.deepEqual(
    [first, second].map((host) => bed.annotations(host)),
    before,
  );
  await assertNoneLost(ping);
});

test("a start while the API server is down keeps what is programmed, and continues when it is back", async (t) => {
  const { bed, first, daemons, ping } = await startPair(t);
  await daemons[0].stop();
  await first.line.cut();
  const flanneld = bed.start(first);
  await flanneld.logged(/Failed to read the record of this host from the datastore; retrying: API server/);
  await ping.more(20);
  await first.line.restore();
  await flanneld.logged(/flanneld is ready: 10\.244\.1\.0\/24/);
  await assertNoneLost(ping);
});

test("a device that is lost while flanneld is away comes back with its MAC, in both families: peers learn nothing new", async (t) => {
  const bed = await makeKubeBed(t, 2, {
    ...{ ipv6: true, config: { ...NETWORK, EnableIPv6: true, IPv6Network: "fd10:244::/48" } },
    podCIDRs: (n) => [`10.244.${n}.0/24`, `fd10:244:0:${n}::/64`],
  });
  const [first, second] = bed.hosts as [KubeHost, KubeHost];
  const [flanneld, other] = await Promise.all([bed.ready(first), bed.ready(second)]);
  const before = bed.annotations(first);
  await other.until(() => hasRoute(second, "10.244.1.0/24"), "the peer's route");
  const from = other.lines.length;
  await flanneld.stop();
  for (const device of ["flannel.1", "flannel-v6.1"]) first.run("ip", "link", "delete", device);
  await bed.ready(first);
  assert.deepEqual(bed.annotations(first), before);
  const macs = ["flannel.1", "flannel-v6.1"].map(
    (device) => first.json("ip", "-json", "link", "show", device)[0].address,
  );
  assert.deepEqual(
    macs,
    [before["backend-data"], before["backend-v6-data"]].map((text) => JSON.parse(text!).VtepMAC),
  );
  assert.doesNotMatch(other.lines.slice(from).join("\n"), /Peer/);
  const [a, b] = [addPod(t, first), addPod(t, second)];
  await until(() => answers(b, a.ipv4), "IPv4");
  await until(() => answers(b, a.ipv6), "IPv6");
});

test("public-ip-overwrite changes only the published address; node-public-ip counts as --public-ip", async (t) => {
  const bed = await makeKubeBed(t, 2);
  const [first, second] = bed.hosts as [KubeHost, KubeHost];
  // Behind a NAT: peers reach it at an address that its interface does not have.
  first.run("ip", "address", "add", "198.51.100.1/32", "dev", "lo");
  second.run("ip", "route", "add", "198.51.100.1/32", "via", first.address);
  bed.annotate(first, { "public-ip-overwrite": "198.51.100.1" });
  bed.annotate(second, { "node-public-ip": second.address });
  const flanneld = await bed.ready(first);
  const other = await bed.ready(second, { args: ["--public-ip=203.0.113.9"] });
  assert.match(
    flanneld.log(),
    /External interface eth0: 192\.168\.7\.1, MTU 1500, published as 198\.51\.100\.1/,
  );
  assert.equal(bed.annotations(first)["public-ip"], "198.51.100.1");
  assert.match(first.run("ip", "-d", "link", "show", "flannel.1"), /local 192\.168\.7\.1 /);
  assert.match(other.log(), /annotation names 192\.168\.7\.2: --public-ip=203\.0\.113\.9 is not used/);
  assert.equal(bed.annotations(second)["public-ip"], second.address);
  const fdb = () => second.run("bridge", "fdb", "show", "dev", "flannel.1");
  await until(() => fdb().includes("dst 198.51.100.1 "), "the entry on the peer");
  const [from, to] = [addPod(t, second), addPod(t, first)];
  await until(() => answers(from, to.ipv4), "packets through it");
  await flanneld.stop();
  await bed.ready(first);
  assert.equal(bed.annotations(first)["public-ip"], "198.51.100.1");
});

interface Phase {
  readonly title: string;
  /** What the node is given; default 10.244.n.0/24. */
  readonly podCIDRs?: () => readonly string[];
  /** Brings flanneld into the phase. */
  readonly enter: (bed: KubeBed, host: KubeHost) => Promise<Flanneld>;
}

async function logged(flanneld: Flanneld, pattern: RegExp): Promise<Flanneld> {
  await flanneld.logged(pattern);
  return flanneld;
}

const PHASES: readonly Phase[] = [
  {
    title: "while the API server refuses connections",
    async enter(bed, host) {
      await host.line.cut();
      return logged(bed.start(host), /Failed to read the record of this host/);
    },
  },
  {
    title: "while the API server takes connections and stays silent",
    async enter(bed, host) {
      host.line.silence();
      const flanneld = await logged(bed.start(host), /flanneld v.* with/);
      await until(() => host.run("ss", "-tnH", "state", "established").length > 0, "a connection");
      return flanneld;
    },
  },
  {
    title: "while there is no podCIDR",
    podCIDRs: () => [],
    enter: (bed, host) => logged(bed.start(host), /has no podCIDR yet/),
  },
  {
    title: "while its annotations are refused",
    enter(bed, host) {
      bed.api.inject({ verb: "patch", times: 1_000, answer: { status: 403 } });
      return logged(bed.start(host), /Failed to acquire lease/);
    },
  },
  {
    title: "while it is to wait before it asks again",
    enter(bed, host) {
      const answer = { status: 429, headers: { "Retry-After": "60" } };
      bed.api.inject({ verb: "list", resource: "nodes", times: 1_000, answer });
      return logged(bed.start(host), /Wrote /);
    },
  },
  {
    title: "while it is ready",
    enter: (bed, host) => bed.ready(host),
  },
  {
    title: "while it is ready and the API server is away",
    async enter(bed, host) {
      const flanneld = await bed.ready(host);
      await host.line.cut();
      return logged(flanneld, /Watch on .* lost/);
    },
  },
  {
    title: "while it is ready and the API server is silent",
    async enter(bed, host) {
      const flanneld = await bed.ready(host);
      host.line.silence();
      return flanneld;
    },
  },
];

test("W38 SIGTERM ends it within a second with code 0, in every phase", async (t) => {
  for (const { title, podCIDRs, enter } of PHASES) {
    await t.test(title, async (t) => {
      const bed = await makeKubeBed(t, 1, podCIDRs && { podCIDRs });
      const flanneld = await enter(bed, bed.hosts[0]!);
      const from = flanneld.lines.length;
      const { code, tookMs, signal } = await flanneld.stop();
      assert.deepEqual({ code, signal }, { code: 0, signal: null }, flanneld.log());
      assert.ok(tookMs < 1000, `${tookMs} ms`);
      const last = flanneld.lines.slice(from).join("\n");
      assert.doesNotMatch(last, /^[EF]/m);
    });
  }
});
