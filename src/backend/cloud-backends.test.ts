/** Table tests of gce, ali-vpc and tencent-vpc: configs and leases in, routes out. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { encodeLeaseValue } from "../lease/lease-codec.ts";
import { describeObject } from "../state/objects.ts";
import type { Host, HostKeys } from "./backend.ts";
import { createBackend, parseNetwork } from "./backends.ts";

const SECRET = "kX2-a-secret";
const KEY = { AccessKeyID: "LTAI5t", AccessKeySecret: SECRET };
const KEYS: HostKeys = {
  publicKey: () => "",
  registerPresharedKey: () => "",
  registerSecret: (text) => (text === JSON.stringify({ id: "LTAI5t", secret: SECRET }) ? "sha256:00" : text),
};
const HOST: Host = {
  ...{ interfaceName: "eth0", interfaceMtuBytes: 8500, ipv6: undefined, publicIpv6: undefined },
  ...{ ipv4: parseIp("192.168.7.1"), publicIp: parseIp("192.168.7.1") },
};

const networkOf = (backend: object, more: object = {}) =>
  parseNetwork(JSON.stringify({ Network: "10.5.0.0/16", Backend: backend, ...more }));
const backendOf = (backend: object, keys: { readonly keys?: HostKeys } = { keys: KEYS }) =>
  createBackend(networkOf(backend), { existing: [], randomBytes: () => new Uint8Array(6), ...keys });
const planOf = (backend: object) =>
  backendOf(backend).plan({
    ...{ host: HOST, network: networkOf(backend), nextHop: () => undefined, peers: [] },
    own: { ipv4: parsePrefix("10.5.1.0/24"), ipv6: undefined },
  });
const described = (backend: object) => [...planOf(backend).state.values()].map(describeObject);

for (const [type, table] of [
  ["gce", undefined],
  ["ali-vpc", "vtb-bp145q7glnuzdv"],
  ["tencent-vpc", "rtb-n0yejvje"],
] as const) {
  test(`${type}: one route, to this host, in the table of this host; MTU and lease as in Go flannel`, () => {
    const backend = backendOf({ Type: type.toUpperCase() });
    assert.deepEqual(described({ Type: type }), [
      `cloud-route 10.5.1.0/24 to 192.168.7.1 in ${type} table of this host`,
    ]);
    assert.equal(backend.mtuBytes(HOST), 8500);
    const value = encodeLeaseValue({
      ...{ publicIp: HOST.publicIp, publicIpv6: undefined, ...backend.published },
    });
    assert.equal(value, '{"PublicIP":"192.168.7.1","PublicIPv6":null}');
    assert.throws(
      () => backend.checkHost({ ...HOST, ipv4: undefined }),
      /needs an IPv4 address .*eth0 has none/,
    );
  });

  test(`${type}: IPv6 is refused`, () => {
    const ipv6 = { EnableIPv6: true, IPv6Network: "fd00::/48" };
    assert.throws(() => networkOf({ Type: type }, ipv6), new RegExp(`the ${type} backend routes IPv4 only`));
  });

  if (table === undefined) continue;

  test(`${type}: RouteTableID is an id or a list, and all hosts have the same`, () => {
    const other = `${table}2`;
    assert.deepEqual(
      described({ Type: type, RouteTableID: [table, other, table] }),
      [table, other].map((id) => `cloud-route 10.5.1.0/24 to 192.168.7.1 in ${type} table ${id}`),
    );
    assert.equal(backendOf({ Type: type, RouteTableID: table }).fixedMembers.RouteTableID, table);
    for (const RouteTableID of ["xyz-1", [7], { a: 1 }, `${table}/`])
      assert.throws(() => networkOf({ Type: type, RouteTableID }), /Backend.RouteTableID must be the id of/);
  });

  test(`${type}: the access key is in plans by its fingerprint only`, () => {
    const { state } = planOf({ Type: type, ...KEY });
    const text = JSON.stringify([...state.values()]);
    assert.match(text, /"accessKeyId":"sha256:00"/);
    assert.ok(!text.includes(SECRET));
    assert.throws(() => backendOf({ Type: type, ...KEY }, {}), /needs an access key, which is not available/);
  });

  test(`${type}: half a key is not used, and noted; a key that is no string is refused without its value`, () => {
    const { notes } = backendOf({ Type: type, AccessKeySecret: SECRET });
    assert.deepEqual(notes, [
      "Backend.AccessKeySecret is not used, because Backend.AccessKeyID is not set; set both or none",
    ]);
    assert.match(
      JSON.stringify([...planOf({ Type: type, AccessKeySecret: SECRET }).state.values()]),
      /"accessKeyId":""/,
    );
    assert.throws(
      () => networkOf({ Type: type, AccessKeySecret: [SECRET] }),
      (error: Error) => {
        assert.match(error.message, /Backend.AccessKeySecret must be a string/);
        return !error.message.includes(SECRET);
      },
    );
  });
}
