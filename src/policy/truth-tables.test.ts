/**
 * One table for each field of a policy: which of the same senders, receivers and ports it allows. The pods of the cluster:
 *
 *     shop (team=red):  web (app=web), db (app=db, tier=back)      lab (no labels):  probe (app=web)
 *     node: a pod with the node's network                          outside: no pod
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { PolicyCompiler } from "./compile.ts";
import { judge } from "./judge.ts";
import type { DesiredFilter, PolicyPod } from "./model.ts";
import { createObjectParser } from "./parse-objects.ts";
import { parseNetworkPolicy } from "./parse-policy.ts";

const ADDRESSES = {
  web: "10.9.0.1",
  db: "10.9.0.2",
  probe: "10.9.0.3",
  node: "192.0.2.10",
  outside: "198.51.100.7",
  web6: "fd09::1",
  db6: "fd09::2",
  outside6: "2001:db8::7",
} as const;
type Place = keyof typeof ADDRESSES;
const V4: readonly Place[] = ["web", "db", "probe", "node", "outside"];

const parser = createObjectParser("here");
const pod = (namespace: string, name: Place, labels: object, ips: readonly string[], more: object = {}) =>
  parser.pod({
    metadata: { namespace, name, labels },
    spec: { nodeName: "here", containers: [{ ports: [{ name: "http", containerPort: 8080 }] }], ...more },
    status: { phase: "Running", podIPs: ips.map((ip) => ({ ip })) },
  })!;
const PODS: readonly PolicyPod[] = [
  pod("shop", "web", { app: "web" }, [ADDRESSES.web, ADDRESSES.web6]),
  pod("shop", "db", { app: "db", tier: "back" }, [ADDRESSES.db, ADDRESSES.db6]),
  pod("lab", "probe", { app: "web" }, [ADDRESSES.probe]),
  pod("shop", "node", { app: "web" }, [ADDRESSES.node], { hostNetwork: true }),
];

function compile(...specs: object[]): DesiredFilter {
  const policies = specs.map((spec, index) =>
    parseNetworkPolicy({ metadata: { namespace: "shop", name: `p${index}` }, spec }),
  );
  return new PolicyCompiler((text) => createHash("sha256").update(text).digest("hex")).compile({
    pods: new Map(PODS.map((each) => [`${each.namespace}/${each.name}`, each])),
    namespaces: new Map([
      ["shop", { name: "shop", labels: new Map([["team", "red"]]) }],
      ["lab", { name: "lab", labels: new Map() }],
    ]),
    policies: new Map(policies.map((policy) => [`${policy!.namespace}/${policy!.name}`, policy!])),
  });
}

const reaches = (filter: DesiredFilter, from: Place, to: Place, port = 80, protocol = "TCP"): boolean =>
  judge(filter, { source: ADDRESSES[from], destination: ADDRESSES[to], protocol, port }).isAllowed;
/** Who reaches the database. */
const senders = (...specs: object[]): Place[] => {
  const filter = compile(...specs);
  return V4.filter((place) => place !== "db" && reaches(filter, place, "db"));
};
/** Whom the database reaches. */
const receivers = (...specs: object[]): Place[] => {
  const filter = compile(...specs);
  return V4.filter((place) => place !== "db" && reaches(filter, "db", place));
};
const ALL: readonly Place[] = ["web", "probe", "node", "outside"];
const DB = { matchLabels: { app: "db" } };

test("podSelector: which pods are isolated", () => {
  const isolated = (podSelector: object) => {
    const filter = compile({ podSelector, ingress: [] });
    return V4.filter((place) => !reaches(filter, place === "outside" ? "web" : "outside", place));
  };
  assert.deepEqual(isolated({}), ["web", "db"]);
  assert.deepEqual(isolated({ matchLabels: { app: "db" } }), ["db"]);
  assert.deepEqual(isolated({ matchLabels: { app: "db", tier: "front" } }), []);
  assert.deepEqual(isolated({ matchExpressions: [{ key: "tier", operator: "DoesNotExist" }] }), ["web"]);
  assert.deepEqual(isolated({ matchExpressions: [{ key: "app", operator: "NotIn", values: ["web"] }] }), [
    "db",
  ]);
  assert.deepEqual(isolated({ matchLabels: { app: "nobody" } }), []);
});

test("policyTypes: which directions are isolated", () => {
  const open = (spec: object): string[] => {
    const filter = compile({ podSelector: DB, ...spec });
    return [
      ...(reaches(filter, "web", "db") ? ["ingress"] : []),
      ...(reaches(filter, "db", "web") ? ["egress"] : []),
    ];
  };
  assert.deepEqual(open({}), ["egress"]);
  assert.deepEqual(open({ egress: [] }), ["egress"]);
  assert.deepEqual(open({ egress: [{}] }), ["egress"]);
  assert.deepEqual(open({ egress: [{ to: [{ podSelector: DB }] }] }), []);
  assert.deepEqual(open({ policyTypes: ["Ingress"] }), ["egress"]);
  assert.deepEqual(open({ policyTypes: ["Egress"] }), ["ingress"]);
  assert.deepEqual(open({ policyTypes: ["Egress"], ingress: [] }), ["ingress"]);
  assert.deepEqual(open({ policyTypes: ["Ingress", "Egress"] }), []);
  assert.deepEqual(open({ policyTypes: ["Ingress", "Egress"], ingress: [{}], egress: [{}] }), [
    "ingress",
    "egress",
  ]);
});

test("from and to: whom a rule allows", () => {
  const cases: [peers: object[] | undefined, places: Place[]][] = [
    [undefined, [...ALL]],
    [[], [...ALL]],
    [[{ podSelector: {} }], ["web"]],
    [[{ podSelector: { matchLabels: { app: "web" } } }], ["web"]],
    [[{ namespaceSelector: {} }], ["web", "probe"]],
    [[{ namespaceSelector: { matchLabels: { team: "red" } } }], ["web"]],
    [[{ namespaceSelector: { matchExpressions: [{ key: "team", operator: "DoesNotExist" }] } }], ["probe"]],
    [[{ namespaceSelector: {}, podSelector: { matchLabels: { app: "web" } } }], ["web", "probe"]],
    [[{ namespaceSelector: {}, podSelector: DB }], []],
    [[{ namespaceSelector: { matchLabels: { team: "blue" } } }, { podSelector: {} }], ["web"]],
    [[{ ipBlock: { cidr: "198.51.100.0/24" } }], ["outside"]],
    [[{ ipBlock: { cidr: "0.0.0.0/0" } }], [...ALL]],
    [[{ ipBlock: { cidr: "0.0.0.0/0", except: ["10.9.0.0/30"] } }], ["node", "outside"]],
    [
      [{ ipBlock: { cidr: "192.0.2.10/32" } }, { podSelector: {} }],
      ["web", "node"],
    ],
    [[{ ipBlock: { cidr: "::/0" } }], []],
  ];
  for (const [peers, places] of cases) {
    const list = (member: string) => [peers === undefined ? {} : { [member]: peers }];
    assert.deepEqual(senders({ podSelector: DB, ingress: list("from") }), places, JSON.stringify(peers));
    const egress = { podSelector: DB, policyTypes: ["Egress"], egress: list("to") };
    assert.deepEqual(receivers(egress), places, JSON.stringify(peers));
  }
});

test("rules and policies are OR-ed; a policy of another selector adds nothing", () => {
  const web = { podSelector: DB, ingress: [{ from: [{ podSelector: { matchLabels: { app: "web" } } }] }] };
  const outside = { podSelector: DB, ingress: [{ from: [{ ipBlock: { cidr: "198.51.100.7/32" } }] }] };
  assert.deepEqual(senders(web, outside), ["web", "outside"]);
  assert.deepEqual(senders({ podSelector: DB, ingress: [...web.ingress, ...outside.ingress] }), [
    "web",
    "outside",
  ]);
  assert.deepEqual(senders(web, { podSelector: { matchLabels: { app: "web" } }, ingress: [{}] }), ["web"]);
  assert.deepEqual(senders(web, { podSelector: {}, ingress: [{}] }), [...ALL]);
});

test("ports: which of a rule's ports are open", () => {
  const probes: [protocol: string, port: number][] = [
    ["TCP", 80],
    ["TCP", 81],
    ["TCP", 8080],
    ["UDP", 80],
    ["SCTP", 80],
    ["ICMP", 0],
  ];
  const open = (ports: object[] | undefined) => {
    const filter = compile({ podSelector: DB, ingress: [ports === undefined ? {} : { ports }] });
    return probes.flatMap(([protocol, port]) =>
      reaches(filter, "web", "db", port, protocol) ? [`${protocol} ${port}`] : [],
    );
  };
  const everything = probes.map(([protocol, port]) => `${protocol} ${port}`);
  assert.deepEqual(open(undefined), everything);
  assert.deepEqual(open([]), everything);
  assert.deepEqual(open([{ port: 80 }]), ["TCP 80"]);
  assert.deepEqual(open([{ protocol: "UDP", port: 80 }]), ["UDP 80"]);
  assert.deepEqual(open([{ protocol: "SCTP" }, { protocol: "UDP" }]), ["UDP 80", "SCTP 80"]);
  assert.deepEqual(open([{}]), ["TCP 80", "TCP 81", "TCP 8080"]);
  assert.deepEqual(open([{ port: 80, endPort: 81 }]), ["TCP 80", "TCP 81"]);
  assert.deepEqual(open([{ port: 82, endPort: 65535 }]), ["TCP 8080"]);
  assert.deepEqual(open([{ port: "http" }]), ["TCP 8080"]);
  assert.deepEqual(open([{ port: "http", protocol: "UDP" }]), []);
  assert.deepEqual(open([{ port: "https" }]), []);
  assert.deepEqual(open([{ port: 80 }, { port: "http" }]), ["TCP 80", "TCP 8080"]);
});

test("10,000 ports become as few ranges as there are", () => {
  const ports = Array.from({ length: 10_000 }, (_, index) => ({ port: 1 + 2 * index }));
  const filter = compile({
    podSelector: DB,
    ingress: [{ ports: [...ports, { port: 30_000, endPort: 40_000 }] }],
  });
  assert.deepEqual(
    [1, 2, 19_999, 20_000, 35_000].map((port) => reaches(filter, "web", "db", port)),
    [true, false, true, false, true],
  );
  const dense = Array.from({ length: 10_000 }, (_, index) => ({ port: 1 + index }));
  const [chain] = compile({ podSelector: DB, ingress: [{ ports: dense }] }).chains.values();
  assert.deepEqual(chain!.rules[0]!.ports, { first: 1, last: 10_000 });
});

test("both families: selectors mean all addresses of a pod, a block its own family", () => {
  const selected = compile({ podSelector: DB, ingress: [{ from: [{ podSelector: {} }] }] });
  assert.deepEqual([reaches(selected, "web6", "db6"), reaches(selected, "outside6", "db6")], [true, false]);
  const block = compile({ podSelector: DB, ingress: [{ from: [{ ipBlock: { cidr: "2001:db8::/32" } }] }] });
  assert.deepEqual([reaches(block, "web6", "db6"), reaches(block, "outside6", "db6")], [false, true]);
  assert.equal(reaches(block, "outside", "db"), false);
});

test("a pod reaches itself, and pods on the node's network are never isolated", () => {
  const filter = compile({ podSelector: {}, policyTypes: ["Ingress", "Egress"] });
  assert.deepEqual([reaches(filter, "db", "db"), reaches(filter, "db6", "db6")], [true, true]);
  assert.deepEqual([reaches(filter, "outside", "node"), reaches(filter, "node", "outside")], [true, true]);
});
