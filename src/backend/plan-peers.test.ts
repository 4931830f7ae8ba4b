/** The part of a plan that all backends share, with a backend that makes one route per peer and family. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp, parseIp } from "../address/ip.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../address/prefix.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import type { Lease } from "../lease/lease.ts";
import { describeObject, type StateObject } from "../state/objects.ts";
import type { PlanInput } from "./backend.ts";
import { directRoute } from "./direct-route.ts";
import { familiesOf } from "./families.ts";
import { createPeerPlanner } from "./plan-peers.ts";

const NETWORK = parseNetworkConfig('{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}');
const INPUT: PlanInput = {
  host: {
    interfaceName: "eth0",
    interfaceMtuBytes: 1500,
    ipv4: parseIp("192.168.7.1"),
    ipv6: parseIp("fd00:7::1"),
    publicIp: parseIp("192.168.7.1"),
    publicIpv6: parseIp("fd00:7::1"),
  },
  network: NETWORK,
  own: { ipv4: parsePrefix("10.5.1.0/24"), ipv6: parsePrefix("fc00:0:0:1::/64") },
  peers: [],
  nextHop: () => undefined,
};

/** A peer of both families; `data` is its BackendData: the text of an identity, or a problem that begins with "!". */
const peer = (number: number, data?: string, ipv4?: Prefix): Lease => ({
  key: `10.5.${number}.0-24`,
  subnets: {
    ipv4: ipv4 ?? parsePrefix(`10.5.${number}.0/24`),
    ipv6: parsePrefix(`fc00:0:0:${number}::/64`),
  },
  attributes: {
    publicIp: parseIp(`192.168.7.${number}`),
    publicIpv6: parseIp(`fd00:7::${number}`),
    backendType: "toy",
    backendData: data,
    backendV6Data: undefined,
  },
});

function createToy(network = NETWORK) {
  const asked: string[] = [];
  const planPeers = createPeerPlanner({
    type: "toy",
    families: familiesOf(network),
    reach({ subnet, publicIp, data }, { family }) {
      asked.push(`${formatPrefix(subnet)} ${formatIp(publicIp)} ${family}`);
      if (typeof data === "string" && data.startsWith("!")) return data.slice(1);
      return { objects: [directRoute(subnet, publicIp, "eth0")], identity: data as string | undefined };
    },
  });
  const plan = (input: Partial<PlanInput>, ownIdentities?: readonly string[]) => {
    const state = new Map<string, StateObject>();
    const problems = planPeers({ ...INPUT, network, ...input }, state, ownIdentities);
    return {
      objects: [...state.values()].map(describeObject),
      problems: problems.map(({ key, message }) => `${key}: ${message}`),
    };
  };
  return { asked, plan };
}

const ROUTES_TO_2 = [
  "route 10.5.2.0/24 via 192.168.7.2 dev eth0",
  "route fc00:0:0:2::/64 via fd00:7::2 dev eth0",
];

test("objects of each family, in the order of the peers' keys; other backends' leases are ignored", () => {
  const { plan } = createToy();
  const foreign: Lease = { ...peer(4), attributes: { ...peer(4).attributes, backendType: "vxlan" } };
  const { objects, problems } = plan({ peers: [peer(3), foreign, peer(2)] });
  assert.deepEqual(objects.slice(0, 2), ROUTES_TO_2);
  assert.equal(objects.length, 4);
  assert.deepEqual(problems, []);
});

test("plans nothing before this host has a lease, or before the peers are known", () => {
  const { plan, asked } = createToy();
  for (const input of [{ own: undefined, peers: [peer(2)] }, { peers: undefined }]) {
    assert.deepEqual(plan(input), { objects: [], problems: [] });
  }
  assert.deepEqual(asked, []);
});

test("calls a backend once per peer and family while none of its inputs changes", () => {
  const { plan, asked } = createToy();
  const [two, three] = [peer(2), peer(3)];
  plan({ peers: [two] });
  plan({ peers: [two, three] });
  assert.deepEqual(asked, [
    "10.5.2.0/24 192.168.7.2 4",
    "fc00:0:0:2::/64 fd00:7::2 6",
    "10.5.3.0/24 192.168.7.3 4",
    "fc00:0:0:3::/64 fd00:7::3 6",
  ]);
  plan({ peers: [two], nextHop: () => undefined });
  assert.equal(asked.length, 6);
});

test("a problem of one family does not affect the other, and names the family only in dual stack", () => {
  const both = createToy();
  assert.deepEqual(both.plan({ peers: [peer(2, "!it is odd")] }), {
    objects: ROUTES_TO_2.slice(1),
    problems: ["10.5.2.0-24: IPv4: it is odd"],
  });
  const one = createToy({ ...NETWORK, ipv6: undefined });
  assert.deepEqual(one.plan({ peers: [peer(2, "!it is odd")] }).problems, ["10.5.2.0-24: it is odd"]);
});

test("an unusable subnet or public IP is refused before the backend is called", () => {
  const { plan, asked } = createToy({ ...NETWORK, ipv6: undefined });
  const [own, outside] = [parsePrefix("10.5.1.0/25")!, parsePrefix("10.6.0.0/24")!];
  const { objects, problems } = plan({
    peers: [peer(1), peer(2, undefined, own), peer(3, undefined, outside)],
  });
  assert.deepEqual([objects, asked], [[], []]);
  assert.match(problems[0]!, /overlaps this host's own subnet/);
  assert.match(problems[1]!, /overlaps this host's own subnet/);
  assert.match(problems[2]!, /is not inside the network/);
  const noSubnet: Lease = { ...peer(4), subnets: { ipv4: undefined, ipv6: undefined } };
  assert.match(plan({ peers: [noSubnet] }).problems.join(), /it has no IPv4 subnet$/);
});

test("an identity belongs to this host, then to the first peer by key that is reached", () => {
  const { plan } = createToy({ ...NETWORK, ipv6: undefined });
  const { objects, problems } = plan(
    {
      peers: [
        peer(6, "key B"),
        peer(5, "key A"),
        peer(4, "key A"),
        peer(3, "key A", parsePrefix("10.5.2.128/25")),
        peer(2),
      ],
    },
    ["key B"],
  );
  assert.deepEqual(objects, [
    "route 10.5.2.0/24 via 192.168.7.2 dev eth0",
    "route 10.5.4.0/24 via 192.168.7.4 dev eth0",
  ]);
  assert.deepEqual(problems, [
    "10.5.3.0-24: its subnet 10.5.2.128/25 overlaps 10.5.2.0/24, which is that of 10.5.2.0-24",
    "10.5.5.0-24: its key A is already that of 10.5.4.0-24",
    "10.5.6.0-24: its key B is already that of this host",
  ]);
});

const claim = (number: number, order: Partial<Lease>, data?: string, ipv4?: string): Lease => ({
  ...peer(number, data, ipv4 === undefined ? undefined : parsePrefix(ipv4)!),
  ...order,
});

test("F2 of two hosts with one subnet, the one established first keeps it, in any order of keys", () => {
  const { plan } = createToy({ ...NETWORK, ipv6: undefined });
  const newcomer = claim(9, { key: "aaa", establishedAt: 20n }, undefined, "10.5.0.0/22");
  const established = claim(2, { key: "h1", establishedAt: 10n });
  for (const peers of [
    [newcomer, established],
    [established, newcomer],
  ]) {
    assert.deepEqual(plan({ peers, own: { ipv4: parsePrefix("10.5.77.0/24")!, ipv6: undefined } }), {
      objects: ["route 10.5.2.0/24 via 192.168.7.2 dev eth0"],
      problems: ["aaa: its subnet 10.5.0.0/22 overlaps 10.5.2.0/24, which is that of h1"],
    });
  }
});

test("F2 a lease of unknown age does not displace one of known age", () => {
  const { plan } = createToy({ ...NETWORK, ipv6: undefined });
  const unknown = claim(9, { key: "aaa" }, undefined, "10.5.2.0/25");
  assert.deepEqual(plan({ peers: [unknown, claim(2, { key: "h1", establishedAt: 10n })] }).problems, [
    "aaa: its subnet 10.5.2.0/25 overlaps 10.5.2.0/24, which is that of h1",
  ]);
});

test("F2 in dual stack a conflict of one family leaves the other programmed", () => {
  const { plan } = createToy();
  const newcomer = claim(9, { key: "aaa", establishedAt: 20n }, undefined, "10.5.2.0/25");
  const { objects, problems } = plan({ peers: [newcomer, claim(2, { key: "h1", establishedAt: 10n })] });
  assert.deepEqual(objects, [...ROUTES_TO_2, "route fc00:0:0:9::/64 via fd00:7::9 dev eth0"]);
  assert.deepEqual(problems, ["aaa: IPv4: its subnet 10.5.2.0/25 overlaps 10.5.2.0/24, which is that of h1"]);
});

test("F1 of two renewed leases with one identity, the one written last is programmed; a reservation displaces none", () => {
  const { plan } = createToy({ ...NETWORK, ipv6: undefined });
  const old = claim(2, { establishedAt: 10n, renewedAt: 11n }, "key A");
  const moved = claim(3, { establishedAt: 20n, renewedAt: 20n }, "key A");
  assert.deepEqual(plan({ peers: [old, moved] }), {
    objects: ["route 10.5.3.0/24 via 192.168.7.3 dev eth0"],
    problems: ["10.5.2.0-24: its key A is already that of 10.5.3.0-24"],
  });
  const renewed = { ...old, renewedAt: 30n };
  assert.deepEqual(plan({ peers: [moved, renewed] }).problems, [
    "10.5.3.0-24: its key A is already that of 10.5.2.0-24",
  ]);
  const reservation = { ...moved, renewedAt: undefined };
  assert.deepEqual(plan({ peers: [reservation, old] }).problems, [
    "10.5.3.0-24: its key A is already that of 10.5.2.0-24",
  ]);
});
