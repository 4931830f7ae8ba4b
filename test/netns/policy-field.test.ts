/**
 * Defects that users of other policy engines reported, each as packets through a real kernel. A test's name has the report.
 *
 *      test ──── in ──▶ node (forwards, our table) ──▶ out ──── test
 */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { silentLogger } from "../../src/base/logger.ts";
import { trackedConnections } from "../../src/linux/tracked-connections.ts";
import { PolicyCompiler } from "../../src/policy/compile.ts";
import { PolicyFilter } from "../../src/policy/policy-filter.ts";
import type { OraclePod, OraclePolicy } from "../../src/testing/policy-oracle.ts";
import { inputOf } from "../../src/testing/random-policies.ts";
import { ACK, digest, PolicyBed, SYN, type TestPacket } from "./policy-bed.ts";

type Ports = OraclePod["spec"]["containers"][0]["ports"];
interface PodChoice {
  readonly ips: readonly string[];
  readonly phase?: string;
  readonly ports?: Ports;
  readonly sidecarPorts?: Ports;
  readonly namespace?: string;
  readonly isRemote?: true;
}

/** Pods of namespace "shop" and this node unless they say otherwise, labelled by their names, and policies of "shop". */
class Field {
  readonly bed: PolicyBed;
  readonly policies: PolicyFilter;
  readonly #compiler = new PolicyCompiler(digest);
  #sourcePort = 20_000;

  constructor(t: TestContext) {
    this.bed = new PolicyBed(t);
    const connections = trackedConnections({ netns: this.bed.netns.path });
    this.policies = new PolicyFilter({ exec: this.bed.exec, logger: silentLogger, digest, connections });
  }

  async apply(
    pods: Readonly<Record<string, PodChoice>>,
    specs: readonly OraclePolicy["spec"][],
    prefix = "policy",
  ): Promise<void> {
    const input = inputOf({
      nodeName: "here",
      namespaces: ["shop", "lab"].map((name) => ({ metadata: { name, labels: { name } } })),
      pods: Object.entries(pods).map(([name, pod]) => ({
        metadata: { namespace: pod.namespace ?? "shop", name, uid: name, labels: { app: name } },
        spec: {
          nodeName: pod.isRemote ? "there" : "here",
          containers: [{ ports: pod.ports ?? [] }],
          initContainers: [{ restartPolicy: "Always", ports: pod.sidecarPorts ?? [] }],
        },
        status: { phase: pod.phase ?? "Running", podIPs: pod.ips.map((ip) => ({ ip })) },
      })),
      policies: specs.map((spec, index) => ({
        metadata: { namespace: "shop", name: `${prefix}-${index}` },
        spec,
      })),
    });
    const { refused } = await this.policies.ensure(this.#compiler.compile(input));
    assert.deepEqual(refused, []);
    assert.equal(await this.policies.settled(), undefined);
  }

  /** Whether the first packet of a new connection passes. */
  passes(source: string, destination: string, port = 80, protocol = "TCP"): boolean {
    return this.send({ source, destination, protocol, port, sourcePort: this.#sourcePort++ });
  }

  send(packet: TestPacket): boolean {
    return this.bed.send([packet])[0]!;
  }
}

const A = "10.9.0.1";
const B = "10.9.0.2";
const OUTSIDE = "198.51.100.7";
const DENY_ALL = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };
const select = (app: string) => ({ matchLabels: { app } });
const from = (app: string, ports?: { port: number | string; protocol?: string }[]) => ({
  from: [{ podSelector: select(app) }],
  ...(ports === undefined ? {} : { ports }),
});

test("kube-router 378: a pod without an address does not keep the others out of the sets", async (t) => {
  const field = new Field(t);
  const policy = { podSelector: select("b"), ingress: [{ from: [{ podSelector: {} }] }] };
  await field.apply({ a: { ips: [A] }, b: { ips: [B] }, pending: { ips: [], phase: "Pending" } }, [policy]);
  assert.equal(field.passes(A, B), true);
  await field.apply({ a: { ips: ["10.9.0.9"] }, b: { ips: [B] }, pending: { ips: [], phase: "Pending" } }, [
    policy,
  ]);
  assert.deepEqual([field.passes("10.9.0.9", B), field.passes(A, B)], [true, false]);
});

test("kube-router 1056: policies of a completed job do not apply to the pod that has its address now", async (t) => {
  const field = new Field(t);
  const pods = { job: { ips: [B], phase: "Succeeded" }, app: { ips: [B] }, a: { ips: [A] } };
  await field.apply(pods, [{ podSelector: select("job"), ingress: [] }]);
  assert.equal(field.passes(A, B), true);
  await field.apply(pods, [{ podSelector: select("app"), ingress: [from("job")] }]);
  assert.equal(field.passes(B, B), true);
  assert.equal(field.passes(A, B), false);
});

test("k3s 10053: a dual-stack pod that is made anew is in the sets with both addresses", async (t) => {
  const field = new Field(t);
  const policy = { podSelector: select("b"), ingress: [from("a")] };
  await field.apply({ a: { ips: [A, "fd09::1"] }, b: { ips: ["10.9.0.5", "fd09::5"] } }, [policy]);
  await field.apply({ a: { ips: [A, "fd09::1"] } }, [policy]);
  await field.apply({ a: { ips: [A, "fd09::1"] }, b: { ips: ["10.9.0.6", "fd09::6"] } }, [policy]);
  assert.deepEqual([field.passes(A, "10.9.0.6"), field.passes("fd09::1", "fd09::6")], [true, true]);
  assert.deepEqual(
    [field.passes(OUTSIDE, "10.9.0.6"), field.passes("2001:db8::7", "fd09::6")],
    [false, false],
  );
});

test("kube-router 326 and 543: everything but two networks, with /0 as the block", async (t) => {
  const field = new Field(t);
  const block = { cidr: "0.0.0.0/0", except: ["172.24.47.0/24", "172.24.41.0/24"] };
  const spec = { podSelector: {}, policyTypes: ["Egress"], egress: [{ to: [{ ipBlock: block }] }] };
  await field.apply({ a: { ips: [A] } }, [spec]);
  const targets = ["172.24.47.9", "172.24.41.0", "172.24.46.255", "172.24.48.0", OUTSIDE];
  assert.deepEqual(
    targets.map((target) => field.passes(A, target)),
    [false, false, true, true, true],
  );
});

test("openshift sdn 26: an exception of one policy does not take away what another allows", async (t) => {
  const field = new Field(t);
  const allow = (ipBlock: { cidr: string; except?: string[] }) => ({
    podSelector: {},
    ingress: [{ from: [{ ipBlock }] }],
  });
  await field.apply({ b: { ips: [B] } }, [
    allow({ cidr: "10.0.0.0/8", except: ["10.0.1.0/24"] }),
    allow({ cidr: "10.0.1.1/32" }),
  ]);
  assert.deepEqual(
    [field.passes("10.0.1.1", B), field.passes("10.0.1.2", B), field.passes("10.0.2.1", B)],
    [true, false, true],
  );
});

test("kube-router 338, Calico 8881, 1399, 609: named ports, of sidecars, of SCTP, and one name given twice", async (t) => {
  const field = new Field(t);
  const b = {
    ips: [B],
    ports: [
      { name: "api", containerPort: 3000, protocol: "TCP" },
      { name: "api", containerPort: 3001, protocol: "TCP" },
      { name: "signal", containerPort: 3868, protocol: "SCTP" },
    ],
    sidecarPorts: [{ name: "mesh", containerPort: 15_000, protocol: "TCP" }],
  };
  const ports = [{ port: "api" }, { port: "signal", protocol: "SCTP" }, { port: "mesh" }, { port: "nobody" }];
  await field.apply({ a: { ips: [A] }, b }, [{ podSelector: select("b"), ingress: [from("a", ports)] }]);
  assert.deepEqual(
    [3000, 3001, 15_000, 3868].map((port) => field.passes(A, B, port)),
    [true, false, true, false],
  );
  assert.deepEqual([field.passes(A, B, 3868, "SCTP"), field.passes(A, B, 3000, "UDP")], [true, false]);
});

test("Cilium 30003: one name is another number in another pod", async (t) => {
  const field = new Field(t);
  const port = (containerPort: number) => [{ name: "http", containerPort, protocol: "TCP" }];
  const pods = {
    a: { ips: [A] },
    blue: { ips: ["10.9.0.3"], ports: port(8080) },
    green: { ips: ["10.9.0.4"], ports: port(9090), isRemote: true as const },
  };
  const named = [{ port: "http" }];
  await field.apply(pods, [
    {
      podSelector: select("a"),
      policyTypes: ["Egress"],
      egress: [{ to: [{ podSelector: {} }], ports: named }],
    },
    { podSelector: select("blue"), ingress: [from("a", named)] },
  ]);
  const verdicts = ["10.9.0.3", "10.9.0.4"].map((ip) =>
    [8080, 9090].map((each) => field.passes(A, ip, each)),
  );
  assert.deepEqual(verdicts, [
    [true, false],
    [false, true],
  ]);
});

test("k3s 9167: default deny holds in both families and both directions", async (t) => {
  const field = new Field(t);
  await field.apply({ a: { ips: [A, "fd09::1"] } }, [DENY_ALL]);
  const pairs = [
    [A, OUTSIDE],
    [OUTSIDE, A],
    ["fd09::1", "2001:db8::7"],
    ["2001:db8::7", "fd09::1"],
  ] as const;
  for (const protocol of ["TCP", "UDP", "SCTP", "ICMP"])
    assert.deepEqual(
      pairs.map(([source, target]) => field.passes(source, target, 80, protocol)),
      [false, false, false, false],
    );
});

test("AWS network policy agent 100: two isolated pods of one node that may connect to each other, both ways", async (t) => {
  const field = new Field(t);
  const pods = { a: { ips: [A] }, b: { ips: [B] } };
  const both = {
    ...DENY_ALL,
    ingress: [{ from: [{ podSelector: {} }] }],
    egress: [{ to: [{ podSelector: {} }] }],
  };
  await field.apply(pods, [DENY_ALL, both]);
  for (const [source, destination] of [
    [A, B],
    [B, A],
  ] as const) {
    const sourcePort = source === A ? 4000 : 4001;
    assert.equal(field.send({ source, destination, protocol: "TCP", sourcePort, port: 80 }), true);
    const reply = {
      source: destination,
      destination: source,
      protocol: "TCP",
      sourcePort: 80,
      port: sourcePort,
    };
    assert.equal(field.send({ ...reply, tcpFlags: SYN | ACK, sequence: 100, acknowledged: 2 }), true);
  }
});

test("Antrea 219: a denied first packet that is repeated is denied again", async (t) => {
  const field = new Field(t);
  await field.apply({ b: { ips: [B] } }, [DENY_ALL]);
  for (const protocol of ["TCP", "UDP"]) {
    const packet = { source: OUTSIDE, destination: B, protocol, sourcePort: 4000, port: 80 };
    assert.deepEqual(
      [1, 2, 3].map(() => field.send(packet)),
      [false, false, false],
    );
  }
});

test("kube-network-policies 246: a connection does not survive the policy that forbids it, nor the loss of a label", async (t) => {
  const field = new Field(t);
  const pods = { a: { ips: [A] }, b: { ips: [B] } };
  const policy = { podSelector: select("b"), ingress: [from("a")] };
  await field.apply(pods, [policy]);
  const request = { source: A, destination: B, protocol: "UDP", sourcePort: 4000, port: 53 };
  const answer = { source: B, destination: A, protocol: "UDP", sourcePort: 53, port: 4000 };
  assert.deepEqual([field.send(request), field.send(answer), field.send(request)], [true, true, true]);
  await field.apply({ other: { ips: [A] }, b: pods.b }, [policy]);
  assert.deepEqual([field.send(request), field.send(answer)], [false, false]);
});

test("AWS network policy controller 210: a Service that translates the port does not open another port", async (t) => {
  const field = new Field(t);
  field.bed.nft(
    "add table ip services; add chain ip services pre { type nat hook prerouting priority dstnat; }",
  );
  field.bed.nft(`add rule ip services pre ip daddr 10.96.0.10 tcp dport 80 dnat to ${B}:8080`);
  const allow = (port: number) => ({
    podSelector: select("a"),
    policyTypes: ["Egress"],
    egress: [{ to: [{ podSelector: {} }], ports: [{ port }] }],
  });
  await field.apply({ a: { ips: [A] }, b: { ips: [B] } }, [allow(80)]);
  assert.equal(field.passes(A, "10.96.0.10", 80), false);
  await field.apply({ a: { ips: [A] }, b: { ips: [B] } }, [allow(8080)]);
  assert.equal(field.passes(A, "10.96.0.10", 80), true);
});

test("kube-router 1072, 1521, 1918: policies come and go without a refused set, and foreign sets stay", async (t) => {
  const field = new Field(t);
  const foreign =
    "table inet mesh {\n\tset probes {\n\t\ttype ipv4_addr\n\t\telements = { 10.9.0.7 }\n\t}\n}";
  field.bed.nft("add table inet mesh; add set inet mesh probes { type ipv4_addr; elements = { 10.9.0.7 }; }");
  const pods = { a: { ips: [A] }, b: { ips: [B] } };
  for (let turn = 0; turn < 20; turn++) {
    const ports = [{ port: 1000 + turn }, { port: 2000 + turn }];
    await field.apply(
      pods,
      [{ podSelector: {}, ingress: [from(turn % 2 === 0 ? "a" : "b", ports)] }],
      `p${turn}`,
    );
    assert.equal(field.passes(A, B, 2000 + turn), turn % 2 === 0);
  }
  await field.apply(pods, []);
  assert.equal(field.passes(A, B), true);
  assert.equal(field.bed.nft("list", "table", "inet", "mesh").trim(), foreign);
  assert.doesNotMatch(field.bed.nft("list", "table", "inet", "flannel-policy"), /pods4-|range-/);
});

test("kube-router 1924: the node reaches its isolated pods, and they it", async (t) => {
  const field = new Field(t);
  await field.apply({ b: { ips: [B] } }, [DENY_ALL]);
  // Towards the node a packet passes the input hook, and the node's own the output hook: our table has neither.
  const hooks = field.bed.nft("list", "table", "inet", "flannel-policy").match(/hook \w+/g);
  assert.deepEqual(hooks, ["hook forward"]);
});
