import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { formatPrefix, parsePrefix } from "../address/prefix.ts";
import { decodeLease, encodeLeaseValue, isProblem } from "../lease/lease-codec.ts";
import type { Host } from "./backend.ts";
import { typeConflicts } from "./backend-types.ts";
import { createBackend, parseNetwork } from "./backends.ts";

const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1400,
  ipv4: parseIp("192.168.7.1"),
  ipv6: undefined,
  publicIp: parseIp("203.0.113.1"),
  publicIpv6: undefined,
};

const network = parseNetwork(
  '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"Alloc","MTU":7}}',
);
const backend = createBackend(network, { existing: [], randomBytes: () => new Uint8Array(6) });

function peer(key: string, value: object) {
  const decoded = decodeLease(key, JSON.stringify(value));
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return { ...decoded, renewedAt: 1n };
}

test("alloc plans nothing for any peers, and has the interface's MTU", () => {
  const peers = [
    peer("10.5.2.0-24", { PublicIP: "192.168.7.2" }),
    peer("10.5.3.0-24", { PublicIP: "192.168.7.3", BackendType: "vxlan" }),
  ];
  const own = { ipv4: parsePrefix("10.5.1.0/24"), ipv6: parsePrefix("fc00:0:0:1::/64") };
  const plan = backend.plan({ host: HOST, network, own, peers, nextHop: () => undefined });
  assert.deepEqual([[...plan.state.values()], plan.problems], [[], []]);
  assert.equal(backend.mtuBytes(HOST), 1400);
  assert.deepEqual(typeConflicts(peers, backend.type), [], "there is no route to any of them anyway");
});

test("alloc's lease is as Go flannel's: neither type nor data", () => {
  const value = encodeLeaseValue({
    publicIp: HOST.publicIp,
    publicIpv6: undefined,
    ...backend.published,
  });
  assert.equal(value, '{"PublicIP":"203.0.113.1","PublicIPv6":null}');
});

test("alloc owns no device, and the routes of an earlier backend in both networks", () => {
  const { devices, networks } = backend.ownership(network);
  assert.equal(devices.size, 0);
  assert.deepEqual(networks.map(formatPrefix), ["10.5.0.0/16", "fc00::/48"]);
});
