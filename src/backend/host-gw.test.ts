import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp, parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Lease } from "../lease/lease.ts";
import { decodeLease, isProblem } from "../lease/lease-codec.ts";
import { describeObject } from "../state/objects.ts";
import type { Host, NextHopLookup } from "./backend.ts";
import { createBackend, deviceNamesOf, parseNetwork } from "./backends.ts";

const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1500,
  ipv4: parseIp("192.168.7.1"),
  ipv6: parseIp("fd00:7::1"),
  publicIp: parseIp("192.168.7.1"),
  publicIpv6: parseIp("fd00:7::1"),
};
const DUAL = { EnableIPv6: true, IPv6Network: "fc00::/48" };
const OWN = { ipv4: parsePrefix("10.5.1.0/24"), ipv6: parsePrefix("fc00:0:0:1::/64") };

/** 192.168.7.0/24 and fd00:7::/64 are on eth0, 192.168.9.0/24 on eth1, everything else behind a router; 10.9.9.9 nowhere. */
const nextHop: NextHopLookup = (ip) => {
  const text = formatIp(ip);
  if (text === "10.9.9.9") return undefined;
  if (/^(?:192\.168\.7\.|fd00:7::)/.test(text)) return { device: "eth0", via: undefined };
  if (text.startsWith("192.168.9.")) return { device: "eth1", via: undefined };
  return { device: "eth0", via: "192.168.7.254" };
};

function makeBackend(more: object = {}) {
  const network = parseNetwork(
    JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "host-gw" }, ...more }),
  );
  const backend = createBackend(network, { existing: [], randomBytes: (count) => new Uint8Array(count) });
  return { network, backend };
}

function lease(key: string, value: object): Lease {
  const text = JSON.stringify({ PublicIPv6: null, BackendType: "host-gw", ...value });
  const decoded = decodeLease(key, text);
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return decoded;
}

function plan(peers: readonly Lease[], more: object = {}, lookup = nextHop) {
  const { backend, network } = makeBackend(more);
  const own = network.ipv6 === undefined ? { ipv4: OWN.ipv4, ipv6: undefined } : OWN;
  const { state, problems } = backend.plan({ host: HOST, network, own, peers, nextHop: lookup });
  return {
    objects: [...state.values()].map(describeObject),
    problems: problems.map(({ message }) => message),
  };
}

test("one route per peer, over the device of its link", () => {
  const peers = [
    lease("10.5.2.0-24", { PublicIP: "192.168.7.2" }),
    lease("10.5.3.0-24", { PublicIP: "192.168.9.3" }),
  ];
  assert.deepEqual(plan(peers), {
    objects: ["route 10.5.2.0/24 via 192.168.7.2 dev eth0", "route 10.5.3.0/24 via 192.168.9.3 dev eth1"],
    problems: [],
  });
});

test("dual stack: one route per family; a missing family does not affect the other", () => {
  const both = lease("10.5.2.0-24&fc00:0:0:2::-64", { PublicIP: "192.168.7.2", PublicIPv6: "fd00:7::2" });
  const one = lease("10.5.3.0-24", { PublicIP: "192.168.7.3" });
  assert.deepEqual(plan([both, one], DUAL), {
    objects: [
      "route 10.5.2.0/24 via 192.168.7.2 dev eth0",
      "route fc00:0:0:2::/64 via fd00:7::2 dev eth0",
      "route 10.5.3.0/24 via 192.168.7.3 dev eth0",
    ],
    problems: ["IPv6: it has no IPv6 subnet"],
  });
});

const PROBLEMS: readonly (readonly [title: string, key: string, value: object, problem: RegExp])[] = [
  [
    "behind a router",
    "10.5.2.0-24",
    { PublicIP: "192.168.8.2" },
    /on no link of this host \(the way there is via 192\.168\.7\.254 on eth0\).*use vxlan/,
  ],
  [
    "without a route",
    "10.5.2.0-24",
    { PublicIP: "10.9.9.9" },
    /on no link of this host \(there is no route to it\)/,
  ],
  ["with this host's address", "10.5.2.0-24", { PublicIP: "192.168.7.1" }, /two hosts have one public IP/],
  [
    "with a subnet outside of the network",
    "10.6.2.0-24",
    { PublicIP: "192.168.7.2" },
    /not inside the network/,
  ],
  [
    "with this host's subnet",
    "10.5.1.128-25",
    { PublicIP: "192.168.7.2" },
    /overlaps this host's own subnet/,
  ],
  ["with the whole network", "10.5.0.0-16", { PublicIP: "192.168.7.2" }, /not inside the network/],
  [
    "with no address of this family",
    "10.5.2.0-24",
    { PublicIP: "0.0.0.0", PublicIPv6: "fd00:7::2" },
    /it has no public IP/,
  ],
];

for (const [title, key, value, problem] of PROBLEMS) {
  test(`a peer ${title} gets no route, and the other peers get theirs`, () => {
    const good = lease("10.5.9.0-24", { PublicIP: "192.168.7.9" });
    const { objects, problems } = plan([lease(key, value), good]);
    assert.deepEqual(objects, ["route 10.5.9.0/24 via 192.168.7.9 dev eth0"]);
    assert.equal(problems.length, 1);
    assert.match(problems[0]!, problem);
  });
}

test("of two peers with overlapping subnets the first by key is programmed", () => {
  const [a, b, c] = ["192.168.7.2", "192.168.7.3", "192.168.7.4"].map((PublicIP) => ({ PublicIP }));
  const named = (key: string, subnets: string, value: object): Lease => ({ ...lease(subnets, value), key });
  const nodes = [
    named("node-c", "10.5.2.128-25", c!),
    named("node-b", "10.5.2.0-24", b!),
    named("node-a", "10.5.2.0-24", a!),
  ];
  for (const peers of [nodes, [...nodes].reverse()]) {
    assert.deepEqual(plan(peers), {
      objects: ["route 10.5.2.0/24 via 192.168.7.2 dev eth0"],
      problems: [
        "its subnet 10.5.2.0/24 overlaps 10.5.2.0/24, which is that of node-a",
        "its subnet 10.5.2.128/25 overlaps 10.5.2.0/24, which is that of node-a",
      ],
    });
  }
  const dual = named("node-d", "10.5.4.0-24&fc00:0:0:2::-64", { ...a, PublicIPv6: "fd00:7::2" });
  const duplicate = named("node-e", "10.5.5.0-24&fc00:0:0:2::-64", { ...b, PublicIPv6: "fd00:7::3" });
  assert.deepEqual(plan([duplicate, dual], DUAL).problems, [
    "IPv6: its subnet fc00:0:0:2::/64 overlaps fc00:0:0:2::/64, which is that of node-d",
  ]);
});

test("peers of other backends are ignored", () => {
  const other = lease("10.5.2.0-24", { PublicIP: "192.168.7.2", BackendType: "vxlan" });
  assert.deepEqual(plan([other]), { objects: [], problems: [] });
});

test("no device, the interface's MTU, only the type in the lease", () => {
  const { backend, network } = makeBackend(DUAL);
  assert.deepEqual(deviceNamesOf(network), []);
  assert.equal(backend.mtuBytes(HOST), 1500);
  assert.deepEqual(backend.published, {
    backendType: "host-gw",
    backendData: undefined,
    backendV6Data: undefined,
  });
  assert.deepEqual([...backend.ownership(network).devices], []);
  assert.equal(backend.ownership(network).networks.length, 2);
});

test("a public IP that is not the interface's is refused, in either family", () => {
  const { backend } = makeBackend(DUAL);
  backend.checkHost(HOST);
  const refuses = (host: Partial<Host>, says: RegExp) =>
    assert.throws(
      () => backend.checkHost({ ...HOST, ...host }),
      (error) => error instanceof ConfigError && says.test(error.message),
    );
  refuses(
    { publicIp: parseIp("203.0.113.7") },
    /it is 203\.0\.113\.7, and eth0 has 192\.168\.7\.1\. Leave --public-ip out/,
  );
  refuses(
    { publicIpv6: parseIp("2001:db8::7") },
    /it is 2001:db8::7, and eth0 has fd00:7::1\. Leave --public-ipv6 out/,
  );
});

test("a plan looks up each next hop once, and again when the lookup changes", () => {
  const { backend, network } = makeBackend();
  const peers = [lease("10.5.2.0-24", { PublicIP: "192.168.7.2" })];
  let asked = 0;
  const counted: NextHopLookup = (ip) => {
    asked++;
    return nextHop(ip);
  };
  const input = { host: HOST, network, own: { ipv4: OWN.ipv4, ipv6: undefined }, peers };
  const first = backend.plan({ ...input, nextHop: counted });
  const second = backend.plan({ ...input, nextHop: counted });
  assert.equal(asked, 1);
  assert.equal(
    [...first.state.values()][0],
    [...second.state.values()][0],
    "the same object stands for the same route",
  );
  backend.plan({ ...input, nextHop: (ip) => counted(ip) });
  assert.equal(asked, 2);
});
