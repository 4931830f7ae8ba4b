import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import type { LeaseAttributes } from "./lease.ts";
import { describeOwner, isOwn, isSameHost } from "./ownership.ts";

const host = (publicIp?: string, publicIpv6?: string): LeaseAttributes => ({
  publicIp: publicIp === undefined ? undefined : parseIp(publicIp),
  publicIpv6: publicIpv6 === undefined ? undefined : parseIp(publicIpv6),
  backendType: "vxlan",
  backendData: undefined,
  backendV6Data: undefined,
});

const CASES: readonly (readonly [what: string, a: LeaseAttributes, b: LeaseAttributes, isSame: boolean])[] = [
  ["the same IPv4 address", host("10.0.0.1"), host("10.0.0.1"), true],
  ["another IPv4 address", host("10.0.0.1"), host("10.0.0.2"), false],
  ["the same IPv4, another IPv6 address", host("10.0.0.1", "fd00::1"), host("10.0.0.1", "fd00::2"), true],
  ["another IPv4, the same IPv6 address", host("10.0.0.1", "fd00::1"), host("10.0.0.2", "fd00::1"), false],
  ["IPv6 only, the same address", host(undefined, "fd00::1"), host(undefined, "fd00::1"), true],
  ["W9 IPv6 only, another address", host(undefined, "fd00::1"), host(undefined, "fd00::2"), false],
  ["IPv4 was added to an IPv6-only network", host("10.0.0.1", "fd00::1"), host(undefined, "fd00::1"), true],
  ["no family in common", host("10.0.0.1"), host(undefined, "fd00::1"), false],
  ["no address at all", host(), host(), false],
];

for (const [what, a, b, isSame] of CASES) {
  test(`${what}: ${isSame ? "the same host" : "two hosts"}`, () => {
    assert.equal(isSameHost(a, b), isSame);
    assert.equal(isSameHost(b, a), isSame);
    assert.equal(isOwn(a, { published: [b] }), isSame);
  });
}

test("a lease with the address that the host published before is its own", () => {
  const published = [host("10.0.0.2"), host("10.0.0.1")];
  assert.equal(isOwn(host("10.0.0.1"), { published }), true);
  assert.equal(isOwn(host("10.0.0.3"), { published }), false);
});

test("a malformed value is nobody's, and without evidence no lease is own", () => {
  assert.equal(isOwn(undefined, { published: [host("10.0.0.1")] }), false);
  assert.equal(isOwn(host("10.0.0.1"), { published: [] }), false);
});

test("the owner is named by its address, IPv4 first", () => {
  assert.deepEqual([host("10.0.0.1", "fd00::1"), host(undefined, "fd00::1"), host()].map(describeOwner), [
    "10.0.0.1",
    "fd00::1",
    "another host",
  ]);
});
