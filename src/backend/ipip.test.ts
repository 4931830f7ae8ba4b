import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Lease } from "../lease/lease.ts";
import { decodeLease, encodeLeaseValue, isProblem } from "../lease/lease-codec.ts";
import { describeObject } from "../state/objects.ts";
import type { Host, NextHopLookup } from "./backend.ts";
import { createBackend, parseNetwork } from "./backends.ts";

const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1500,
  ipv4: parseIp("192.168.7.1"),
  ipv6: undefined,
  publicIp: parseIp("203.0.113.1"),
  publicIpv6: undefined,
};
const OWN = { ipv4: parsePrefix("10.5.1.0/24"), ipv6: undefined };

const networkOf = (members: object = {}, more: object = {}) =>
  parseNetwork(JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "ipip", ...members }, ...more }));

const backendFor = (members: object = {}) =>
  createBackend(networkOf(members), { existing: [], randomBytes: () => new Uint8Array(6) });

function peer(number: number, changes: object = {}): Lease {
  const value = { PublicIP: `192.168.7.${number}`, PublicIPv6: null, BackendType: "ipip", ...changes };
  const decoded = decodeLease(`10.5.${number}.0-24`, JSON.stringify(value));
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return decoded;
}

function plan(peers: readonly Lease[], members: object = {}, nextHop: NextHopLookup = () => undefined) {
  const { state, problems } = backendFor(members).plan({
    ...{ host: HOST, network: networkOf(members), own: OWN, peers, nextHop },
  });
  return {
    objects: [...state.values()].map(describeObject),
    problems: problems.map(({ key, message }) => `${key}: ${message}`),
  };
}

test("one device, the address of the subnet, and per peer a route whose gateway is its public IP", () => {
  assert.deepEqual(plan([peer(3), peer(2)]), {
    objects: [
      "device flannel.ipip ipip local 192.168.7.1 remote any mtu 1480",
      "address 10.5.1.0/32 dev flannel.ipip",
      "route 10.5.2.0/24 via 192.168.7.2 dev flannel.ipip onlink",
      "route 10.5.3.0/24 via 192.168.7.3 dev flannel.ipip onlink",
    ],
    problems: [],
  });
});

test("DirectRouting: a peer on the same link gets a plain route, one behind a router or our own device the tunnel", () => {
  const hops: Readonly<Record<string, ReturnType<NextHopLookup>>> = {
    "192.168.7.2": { device: "eth0", via: undefined },
    "192.168.7.3": { device: "eth0", via: "192.168.7.254" },
    "192.168.7.4": { device: "flannel.ipip", via: undefined },
  };
  const nextHop: NextHopLookup = (ip) => hops[`192.168.7.${ip.value & 255n}`];
  const { objects } = plan(
    [2, 3, 4, 5].map((number) => peer(number)),
    { DirectRouting: true },
    nextHop,
  );
  assert.deepEqual(
    objects.filter((text) => text.startsWith("route")),
    [
      "route 10.5.2.0/24 via 192.168.7.2 dev eth0",
      "route 10.5.3.0/24 via 192.168.7.3 dev flannel.ipip onlink",
      "route 10.5.4.0/24 via 192.168.7.4 dev flannel.ipip onlink",
      "route 10.5.5.0/24 via 192.168.7.5 dev flannel.ipip onlink",
    ],
  );
});

test("the lease is as Go flannel's: its type, no data", () => {
  const { published } = backendFor();
  const value = encodeLeaseValue({ publicIp: HOST.publicIp, publicIpv6: undefined, ...published });
  assert.equal(value, '{"PublicIP":"203.0.113.1","PublicIPv6":null,"BackendType":"ipip"}');
});

test("peers of other backends are ignored, and unusable ones are reported", () => {
  const { objects, problems } = plan([
    peer(2, { BackendType: "vxlan" }),
    peer(3, { PublicIP: "224.0.0.1" }),
    peer(4, { PublicIP: "203.0.113.1" }),
  ]);
  assert.ok(!objects.some((text) => text.startsWith("route")));
  assert.equal(problems.length, 2);
});

test("MTU: 20 bytes less than the external interface's, or than a smaller Backend.MTU", () => {
  assert.equal(backendFor().mtuBytes(HOST), 1480);
  assert.equal(backendFor({ MTU: 1400 }).mtuBytes(HOST), 1380);
  assert.equal(backendFor({ MTU: 9000 }).mtuBytes(HOST), 1480);
  assert.throws(() => backendFor({ MTU: 80 }).mtuBytes(HOST), ConfigError);
});

test("IPv6, which Go flannel's ipip does not carry either, is refused with what to do", () => {
  assert.throws(
    () => networkOf({}, { EnableIPv6: true, IPv6Network: "fc00::/48" }),
    /the ipip backend carries IPv4 only: leave EnableIPv6 out .*or use vxlan/,
  );
});
