/** Table tests of aws-vpc: configs in, routes out; what leases and other types mean to such a host. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { decodeLease, encodeLeaseValue, isProblem } from "../lease/lease-codec.ts";
import { describeObject } from "../state/objects.ts";
import type { Host } from "./backend.ts";
import { typeConflicts } from "./backend-types.ts";
import { createBackend, parseNetwork } from "./backends.ts";

const HOST: Host = {
  ...{ interfaceName: "eth0", interfaceMtuBytes: 9001 },
  ...{ ipv4: parseIp("192.168.7.1"), publicIp: parseIp("198.51.100.1") },
  ...{ ipv6: parseIp("2001:db8::1"), publicIpv6: parseIp("2001:db8::1") },
};
const DUAL = { EnableIPv6: true, IPv6Network: "fd00:5::/48" };

const networkOf = (backend: object = {}, more: object = {}) =>
  parseNetwork(JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "aws-vpc", ...backend }, ...more }));
const backendOf = (network: ReturnType<typeof networkOf>) =>
  createBackend(network, { existing: [], randomBytes: () => new Uint8Array(6) });

function planOf(network: ReturnType<typeof networkOf>, hasLease = true): string[] {
  const ipv6 = network.ipv6 === undefined ? undefined : parsePrefix("fd00:5:0:1::/64");
  const { state, problems } = backendOf(network).plan({
    ...{ host: HOST, network, nextHop: () => undefined, peers: [] },
    own: hasLease ? { ipv4: parsePrefix("10.5.1.0/24"), ipv6 } : undefined,
  });
  assert.deepEqual(problems, []);
  return [...state.values()].map(describeObject);
}

test("a route for each own subnet and table, to this host's own address, once it has a lease", () => {
  assert.deepEqual(planOf(networkOf(), false), []);
  assert.deepEqual(planOf(networkOf()), [
    "cloud-route 10.5.1.0/24 to 192.168.7.1 in aws-vpc table of this host",
  ]);
  assert.deepEqual(planOf(networkOf({ routetableid: ["rtb-1", "rtb-2", "rtb-1"] }, DUAL)), [
    "cloud-route 10.5.1.0/24 to 192.168.7.1 in aws-vpc table rtb-1",
    "cloud-route 10.5.1.0/24 to 192.168.7.1 in aws-vpc table rtb-2",
    "cloud-route fd00:5:0:1::/64 to 2001:db8::1 in aws-vpc table rtb-1",
    "cloud-route fd00:5:0:1::/64 to 2001:db8::1 in aws-vpc table rtb-2",
  ]);
});

test("RouteTableID: a string, a list, nothing; anything else is refused", () => {
  const tablesOf = (value: unknown) => backendOf(networkOf({ RouteTableID: value })).fixedMembers;
  assert.deepEqual(tablesOf("rtb-0a1b2c3d"), { RouteTableID: "rtb-0a1b2c3d" });
  assert.deepEqual(tablesOf(["rtb-1", "rtb-2"]), { RouteTableID: "rtb-1,rtb-2" });
  for (const none of [null, "", []]) assert.deepEqual(tablesOf(none), { RouteTableID: "(detected)" });
  for (const wrong of [7, "main", ["rtb-1", 2], {}, "rtb-1 rtb-2", `rtb-${"0".repeat(60)}`])
    assert.throws(
      () => networkOf({ RouteTableID: wrong }),
      /Backend\.RouteTableID must be the id of a route table/,
    );
});

test("the MTU is the interface's; a host needs an address of each family; leases name no type", () => {
  const backend = backendOf(networkOf({}, DUAL));
  assert.equal(backend.mtuBytes(HOST), 9001);
  backend.checkHost(HOST);
  assert.throws(
    () => backend.checkHost({ ...HOST, ipv6: undefined }),
    /aws-vpc needs an IPv6 address on the external interface.*eth0 has none/,
  );
  const published = { publicIp: HOST.ipv4, publicIpv6: undefined, ...backend.published };
  assert.equal(encodeLeaseValue(published), '{"PublicIP":"192.168.7.1","PublicIPv6":null}');
});

test("peers without a type are of this host's cloud; those with one are reported", () => {
  const peer = (number: number, more: object = {}) => {
    const value = JSON.stringify({ PublicIP: `192.168.7.${number}`, PublicIPv6: null, ...more });
    const lease = decodeLease(`10.5.${number}.0-24`, value);
    if (isProblem(lease)) throw new Error(lease.problem);
    return { ...lease, renewedAt: 1n };
  };
  assert.deepEqual(typeConflicts([peer(2), peer(3)], "aws-vpc"), []);
  assert.match(
    typeConflicts([peer(2), peer(3, { BackendType: "vxlan" })], "aws-vpc").join(),
    /Peer 10\.5\.3\.0-24 runs backend "vxlan" and this host "aws-vpc"/,
  );
  assert.match(typeConflicts([peer(2)], "vxlan").join(), /runs backend "udp" and this host "vxlan"/);
});
