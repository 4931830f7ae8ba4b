import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Lease } from "../lease/lease.ts";
import { decodeLease, encodeLeaseValue, isProblem } from "../lease/lease-codec.ts";
import { describeObject } from "../state/objects.ts";
import type { Host } from "./backend.ts";
import { createBackend, findBackend, parseNetwork } from "./backends.ts";
import { udp } from "./udp.ts";

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
  parseNetwork(JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "udp", ...members }, ...more }));

const backendFor = (members: object = {}) =>
  createBackend(networkOf(members), { existing: [], randomBytes: () => new Uint8Array(6) });

function peer(number: number, changes: object = {}): Lease {
  const value = { PublicIP: `192.168.7.${number}`, PublicIPv6: null, ...changes };
  const decoded = decodeLease(`10.5.${number}.0-24`, JSON.stringify(value));
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return decoded;
}

function plan(peers: readonly Lease[] | undefined, own: typeof OWN | "no lease" = OWN, members: object = {}) {
  const input = {
    host: HOST,
    network: networkOf(members),
    own: own === "no lease" ? undefined : own,
    peers,
    nextHop: () => undefined,
  };
  const { state, problems } = backendFor(members).plan(input);
  return {
    objects: [...state.values()].map(describeObject),
    problems: problems.map(({ key, message }) => `${key}: ${message}`),
  };
}

test("before the lease: the device, and the tunnel, open but idle, also until the peers are known", () => {
  const idle = "tunnel flannel0 for nothing yet on UDP 192.168.7.1:8285";
  assert.deepEqual(plan(undefined, "no lease").objects, ["device flannel0 tun mtu 1472", idle]);
  assert.ok(plan(undefined).objects.includes(idle));
});

test("device, address, tunnel, a forwarding entry per peer, one route for the whole network", () => {
  assert.deepEqual(plan([peer(3), peer(2)]), {
    objects: [
      "device flannel0 tun mtu 1472",
      "tunnel flannel0 for 10.5.1.0/24 on UDP 192.168.7.1:8285",
      "sysctl net.ipv6.conf.flannel0.disable_ipv6=1",
      "address 10.5.1.0/32 dev flannel0",
      "forwarding 10.5.2.0/24 to 192.168.7.2 dev flannel0",
      "forwarding 10.5.3.0/24 to 192.168.7.3 dev flannel0",
      "route 10.5.0.0/16 dev flannel0",
    ],
    problems: [],
  });
  const lax = plan([], OWN, { Port: 9000, StrictSource: false }).objects;
  assert.ok(lax.includes("tunnel flannel0 for 10.5.1.0/24 on UDP 192.168.7.1:9000, any source"));
});

test("the lease is as Go flannel's: no type, no data", () => {
  const { published } = backendFor();
  const value = encodeLeaseValue({ publicIp: HOST.publicIp, publicIpv6: undefined, ...published });
  assert.equal(value, '{"PublicIP":"203.0.113.1","PublicIPv6":null}');
});

test("peers of other backends are ignored, and invalid ones are reported", () => {
  const { objects, problems } = plan([
    peer(2, { BackendType: "vxlan" }),
    peer(3, { PublicIP: "203.0.113.1" }),
    peer(4, { PublicIP: "224.0.0.1" }),
    peer(1),
  ]);
  assert.ok(!objects.some((text) => text.startsWith("forwarding")));
  assert.deepEqual(
    problems.map((problem) => problem.slice(0, 60)),
    [
      "10.5.1.0-24: subnet 10.5.1.0/24 overlaps this host's own sub",
      "10.5.3.0-24: its public IP 203.0.113.1 is this host's own: t",
      "10.5.4.0-24: its public IP 224.0.0.1 is not a unicast addres",
    ],
  );
});

test("of two peers with one subnet the first by key is programmed", () => {
  const duplicate: Lease = { ...peer(3), key: "10.5.0.0-24", subnets: peer(2).subnets };
  for (const peers of [
    [duplicate, peer(2)],
    [peer(2), duplicate],
  ]) {
    const { objects, problems } = plan(peers);
    const entries = objects.filter((text) => text.startsWith("forwarding"));
    assert.deepEqual(entries, ["forwarding 10.5.2.0/24 to 192.168.7.3 dev flannel0"]);
    assert.deepEqual(problems, [
      "10.5.2.0-24: its subnet 10.5.2.0/24 overlaps 10.5.2.0/24, which is that of 10.5.0.0-24",
    ]);
  }
});

test("invalid configs are refused before anything is created", () => {
  const refused: readonly [members: object, more: object, message: RegExp][] = [
    [{ Port: 0 }, {}, /Backend\.Port must be a whole number from 1 to 65535/],
    [{ StrictSource: 1 }, {}, /Backend\.StrictSource must be true or false/],
    [{}, { EnableIPv6: true, IPv6Network: "fc00::/48" }, /carries IPv4 only/],
  ];
  for (const [members, more, message] of refused) {
    const isRefusal = (error: unknown) => error instanceof ConfigError && message.test(error.message);
    assert.throws(() => networkOf(members, more), isRefusal);
  }
  assert.equal(findBackend("UDP"), udp);
  const small = { ...HOST, interfaceMtuBytes: 90 };
  assert.throws(() => backendFor().checkHost(small), /the MTU of eth0, 90 bytes, leaves 62 inside UDP/);
});
