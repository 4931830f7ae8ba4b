/** Policies, pods and namespaces from JSON: defaults of the API, and what comes of input that cannot be understood. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp } from "../address/ip.ts";
import type { NetworkPolicy, PolicyPeer, PolicyPort } from "./model.ts";
import { createObjectParser } from "./parse-objects.ts";
import { parseNetworkPolicy } from "./parse-policy.ts";
import { matchesSelector } from "./parse-selector.ts";

const metadata = { namespace: "shop", name: "web", uid: "u1" };

function parse(spec: unknown): NetworkPolicy {
  const policy = parseNetworkPolicy({ metadata, spec });
  assert.ok(policy);
  return policy;
}
const parsePeers = (...from: unknown[]) => {
  const { ingress, problems } = parse({ podSelector: {}, ingress: [{ from }] });
  return { peers: ingress![0]!.peers!, problems };
};
const parsePorts = (...ports: unknown[]) => {
  const { ingress, problems } = parse({ podSelector: {}, ingress: [{ ports }] });
  return { ports: ingress![0]!.ports!, problems };
};

test("policyTypes: missing means Ingress, and Egress only with egress rules", () => {
  const directions = (spec: object) => {
    const { ingress, egress } = parse({ podSelector: {}, ...spec });
    return [ingress?.length, egress?.length];
  };
  assert.deepEqual(directions({}), [0, undefined]);
  assert.deepEqual(directions({ egress: [] }), [0, undefined]);
  assert.deepEqual(directions({ egress: [{}] }), [0, 1]);
  assert.deepEqual(directions({ policyTypes: ["Egress"] }), [undefined, 0]);
  assert.deepEqual(directions({ policyTypes: ["Egress"], ingress: [{}] }), [undefined, 0]);
  assert.deepEqual(directions({ policyTypes: ["Ingress", "Egress"], ingress: [{}] }), [1, 0]);
  assert.deepEqual(directions({ policyTypes: ["Ingress"], egress: [{}] }), [0, undefined]);
});

test("missing and empty lists of peers and ports mean everything", () => {
  for (const rule of [{}, { from: [], ports: [] }, { from: null, ports: null }]) {
    const { ingress, problems } = parse({ podSelector: {}, ingress: [rule] });
    assert.deepEqual(ingress, [{ peers: undefined, ports: undefined }]);
    assert.deepEqual(problems, []);
  }
});

test("peers: selectors alone and together", () => {
  const { peers, problems } = parsePeers(
    { podSelector: { matchLabels: { app: "db" } } },
    { namespaceSelector: {} },
    { podSelector: {}, namespaceSelector: { matchExpressions: [{ key: "team", operator: "Exists" }] } },
  );
  const app = { key: "app", operator: "In", values: ["db"] } as const;
  const team = { key: "team", operator: "Exists", values: [] } as const;
  assert.deepEqual(peers, [
    { kind: "pods", namespaces: undefined, pods: [app] },
    { kind: "pods", namespaces: [], pods: [] },
    { kind: "pods", namespaces: [team], pods: [] },
  ] satisfies PolicyPeer[]);
  assert.deepEqual(problems, []);
});

test("ipBlock: the block without its exceptions, also adjacent, overlapping and at its ends", () => {
  const ranges = (cidr: string, ...except: string[]) => {
    const { peers, problems } = parsePeers({ ipBlock: { cidr, except } });
    assert.deepEqual(problems, []);
    return peers.flatMap((peer) =>
      peer.kind === "block"
        ? peer.ranges.map(({ first, last }) => `${formatIp(first)}-${formatIp(last)}`)
        : [],
    );
  };
  assert.deepEqual(ranges("10.0.0.0/24"), ["10.0.0.0-10.0.0.255"]);
  assert.deepEqual(ranges("10.0.0.7/24", "10.0.0.4/30"), ["10.0.0.0-10.0.0.3", "10.0.0.8-10.0.0.255"]);
  assert.deepEqual(ranges("10.0.0.0/24", "10.0.0.8/30", "10.0.0.4/30", "10.0.0.4/31"), [
    "10.0.0.0-10.0.0.3",
    "10.0.0.12-10.0.0.255",
  ]);
  assert.deepEqual(ranges("10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/25"), []);
  assert.deepEqual(ranges("0.0.0.0/0", "255.255.255.255/32"), ["0.0.0.0-255.255.255.254"]);
  assert.deepEqual(ranges("fc00::/126", "fc00::1/128"), ["fc00::-fc00::", "fc00::2-fc00::3"]);
});

test("a malformed peer allows nothing and is reported with its path; the others remain", () => {
  for (const [peer, problem] of [
    [{}, /needs podSelector/],
    [null, /is no peer/],
    [{ ipBlock: {}, podSelector: {} }, /excludes selectors/],
    [{ ipBlock: { cidr: "10.0.0.0" } }, /ipBlock: cidr "10\.0\.0\.0" is no prefix/],
    [{ ipBlock: { cidr: "10.0.0.0/33" } }, /is no prefix/],
    [{ ipBlock: { cidr: 7 } }, /is no prefix/],
    [{ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/16"] } }, /is not inside of "10\.0\.0\.0\/8"/],
    [{ ipBlock: { cidr: "10.0.0.0/8", except: ["fc00::/16"] } }, /is not inside of/],
    [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.0.0.0/8"] } }, /is not inside of/],
    [{ ipBlock: { cidr: "10.0.0.0/8", except: ["x"] } }, /except "x" is no prefix/],
    [{ ipBlock: { cidr: "10.0.0.0/8", except: "10.1.0.0/16" } }, /is no list/],
    [{ ipBlock: { cidr: "10.0.0.0/8", only: "tuesdays" } }, /only: unknown member/],
    [{ serviceAccounts: {} }, /serviceAccounts: unknown member/],
  ] as const) {
    const { peers, problems } = parsePeers(peer, { podSelector: {} });
    assert.deepEqual(peers, [{ kind: "pods", namespaces: undefined, pods: [] }], JSON.stringify(peer));
    assert.equal(problems.length, 1);
    assert.match(problems[0]!, problem);
    assert.match(problems[0]!, /^spec\.ingress\[0\]\.from\[0\]/);
  }
});

test("ports: numbers, ranges, names, protocols; without a number all of the protocol", () => {
  const { ports, problems } = parsePorts(
    { port: 80 },
    { protocol: "UDP", port: 53, endPort: 60 },
    { protocol: "SCTP" },
    { port: "http", protocol: "TCP" },
  );
  assert.deepEqual(ports, [
    { kind: "range", protocol: "TCP", first: 80, last: 80 },
    { kind: "range", protocol: "UDP", first: 53, last: 60 },
    { kind: "range", protocol: "SCTP", first: 0, last: 65535 },
    { kind: "named", protocol: "TCP", name: "http" },
  ] satisfies PolicyPort[]);
  assert.deepEqual(problems, []);
});

test("a malformed port allows nothing and is reported", () => {
  for (const port of [
    null,
    { protocol: "ICMP", port: 1 },
    { port: 0 },
    { port: 65536 },
    { port: 1.5 },
    { port: "" },
    { port: "http", endPort: 90 },
    { endPort: 90 },
    { port: 90, endPort: 80 },
    { port: 90, endPort: "91" },
    { port: 90, hostPort: 91 },
  ]) {
    const { ports, problems } = parsePorts(port);
    assert.deepEqual(ports, [], JSON.stringify(port));
    assert.equal(problems.length, 1);
  }
});

test("a selector that cannot be understood selects for isolation, and never as a peer", () => {
  for (const selector of [
    { matchExpressions: [{ key: "a", operator: "Gt", values: ["1"] }] },
    { matchExpressions: [{ key: "a", operator: "In" }] },
    { matchExpressions: [{ key: "a", operator: "Exists", values: ["x"] }] },
    { matchExpressions: [{ operator: "Exists" }] },
    { matchExpressions: { key: "a" } },
    { matchLabels: { a: 1 } },
    { matchLabels: "a=b" },
    { matchFields: [] },
    "a=b",
  ]) {
    const { podSelector, problems } = parse({ podSelector: selector });
    assert.equal(problems.length, 1, JSON.stringify(selector));
    assert.equal(matchesSelector(podSelector, new Map([["a", "b"]]), true), true);
    assert.equal(matchesSelector(podSelector, new Map([["a", "b"]]), false), false);
  }
});

test("malformed rules, lists and types isolate and allow nothing", () => {
  for (const spec of [
    { podSelector: {}, ingress: "all" },
    { podSelector: {}, ingress: [null] },
    { podSelector: {}, ingress: [{ when: "sunny" }] },
    { podSelector: {}, ingress: [{}], priority: 1 },
    "all",
  ]) {
    const { ingress, problems } = parse(spec);
    assert.deepEqual(ingress, [], JSON.stringify(spec));
    assert.equal(problems.length, 1);
  }
  assert.deepEqual(parse({ ingress: [{ from: "all", ports: "all" }] }).ingress, [{ peers: [], ports: [] }]);
  const { ingress, egress } = parse({ policyTypes: ["Sideways"] });
  assert.deepEqual([ingress, egress], [[], []]);
});

test("without name or namespace there is no policy; a thousand problems are counted", () => {
  for (const json of [undefined, null, 1, {}, { metadata: { name: "x" } }, { metadata: { namespace: "x" } }])
    assert.equal(parseNetworkPolicy(json), undefined);
  const ports = Array.from({ length: 1000 }, () => ({ port: -1 }));
  const { problems } = parse({ ingress: [{ ports }] });
  assert.equal(problems.length, 21);
  assert.equal(problems.at(-1), "and 980 more");
});

test("labels: every operator, and labels that every JavaScript object seems to have", () => {
  const labels = new Map([["app", "web"]]);
  const matches = (key: string, operator: "In" | "NotIn" | "Exists" | "DoesNotExist", ...values: string[]) =>
    matchesSelector([{ key, operator, values }], labels, false);
  assert.deepEqual(
    [
      matches("app", "In", "db", "web"),
      matches("app", "In", "db"),
      matches("tier", "In", "db"),
      matches("app", "NotIn", "db"),
      matches("app", "NotIn", "web"),
      matches("tier", "NotIn", "db"),
      matches("app", "Exists"),
      matches("tier", "Exists"),
      matches("app", "DoesNotExist"),
      matches("tier", "DoesNotExist"),
    ],
    [true, false, false, true, false, true, true, false, false, true],
  );
  assert.equal(matches("constructor", "Exists"), false);
  const odd = JSON.parse('{"podSelector":{"matchLabels":{"__proto__":"x"}}}') as unknown;
  assert.deepEqual(parse(odd).podSelector, [{ key: "__proto__", operator: "In", values: ["x"] }]);
});

test("pods: what is read of them, and equal labels are one object", () => {
  const parser = createObjectParser("node-1");
  const json = (name: string, more: object = {}) => ({
    metadata: {
      namespace: "shop",
      name,
      uid: name,
      labels: { b: "2", a: "1" },
      creationTimestamp: "2026-01-01T00:00:01Z",
    },
    spec: {
      nodeName: "node-1",
      containers: [
        { ports: [{ name: "http", containerPort: 8080 }, { containerPort: 9 }] },
        { ports: [{ name: "dns", containerPort: 53, protocol: "UDP" }] },
      ],
      initContainers: [{ ports: [{ name: "mesh", containerPort: 15000 }] }],
    },
    status: {
      phase: "Running",
      podIP: "10.5.1.7",
      podIPs: [{ ip: "10.5.1.7" }, { ip: "FC00::0007" }, { ip: "x" }],
    },
    ...more,
  });
  const first = parser.pod(json("a"))!;
  assert.deepEqual(first, {
    namespace: "shop",
    name: "a",
    uid: "a",
    labels: new Map([
      ["a", "1"],
      ["b", "2"],
    ]),
    addresses: ["10.5.1.7", "fc00::7"],
    isLocal: true,
    isHostNetwork: false,
    phase: "active",
    createdAt: Date.parse("2026-01-01T00:00:01Z") / 1000,
    ports: [
      { name: "http", protocol: "TCP", port: 8080 },
      { name: "dns", protocol: "UDP", port: 53 },
      { name: "mesh", protocol: "TCP", port: 15000 },
    ],
  });
  const second = parser.pod(json("b"))!;
  assert.equal(second.labels, first.labels);
  assert.equal(second.ports, first.ports);
  const deleted = { metadata: { namespace: "shop", name: "c", deletionTimestamp: "2026-01-01T00:00:01Z" } };
  assert.equal(parser.pod(deleted)!.phase, "terminating");
  assert.equal(parser.pod({ ...deleted, status: { phase: "Failed" } })!.phase, "finished");
  assert.equal(
    parser.pod(json("d", { spec: { hostNetwork: true, nodeName: "node-2" } }))!.isHostNetwork,
    true,
  );
  for (const malformed of [null, {}, { metadata: { name: "x" } }])
    assert.equal(parser.pod(malformed), undefined);
  assert.deepEqual(parser.namespace({ metadata: { name: "shop", labels: { a: "1" } } }), {
    name: "shop",
    labels: new Map([["a", "1"]]),
  });
  assert.equal(parser.namespace({ metadata: {} }), undefined);
});
