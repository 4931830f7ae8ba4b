import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp, parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import type { LeaseAttributes } from "./lease.ts";
import { describeOwner, isOwn, isSameHost, recognizeLeases } from "./ownership.ts";

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

test("a malformed value belongs to no host, and without evidence no lease is own", () => {
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

const SUBNETS = [1, 2, 3].map((number) => ({ ipv4: parsePrefix(`10.5.${number}.0/24`), ipv6: undefined }));
const vxlan = (publicIp: string, mac?: string): LeaseAttributes => ({
  ...host(publicIp),
  backendData: mac === undefined ? undefined : { VNI: 1, VtepMAC: mac },
});
const MAC = "0a:00:00:00:00:0b";

/** Leases 1, 2, 3 as listed, seen by a host that publishes `attributes` and at whose network `living` addresses answer. */
async function recognize(
  leases: readonly LeaseAttributes[],
  attributes: LeaseAttributes,
  {
    living = [] as string[],
    previous = undefined as number | undefined,
    isKept = true,
    renewedAt = [] as bigint[],
  } = {},
) {
  const asked: string[] = [];
  const fresh = { ...attributes, backendData: { VNI: 1, VtepMAC: "0e:ff:ff:ff:ff:ff" } };
  const listed = leases.map((lease, index) => ({
    subnets: SUBNETS[index]!,
    attributes: lease,
    renewedAt: renewedAt[index],
  }));
  const recognition = await recognizeLeases(listed, {
    attributes,
    previous: previous === undefined ? undefined : SUBNETS[previous - 1],
    identity: {
      isKept,
      async isInUse({ publicIp }) {
        asked.push(formatIp(publicIp!));
        return living.includes(formatIp(publicIp!));
      },
      replace: () => fresh,
    },
  });
  return {
    own: recognition.own.map((lease) => listed.indexOf(lease) + 1),
    isFresh: recognition.attributes === fresh,
    asked,
  };
}

test("F1 a host that moved knows its lease by the MAC of its device, unless another host answers there", async () => {
  const leases = [vxlan("10.0.0.11", MAC.toUpperCase()), vxlan("10.0.0.12", "0a:00:00:00:00:0c")];
  const me = vxlan("10.0.0.21", MAC);
  assert.deepEqual(await recognize(leases, me), { own: [1], isFresh: false, asked: ["10.0.0.11"] });
  assert.deepEqual(await recognize(leases, me, { living: ["10.0.0.11"], previous: 1 }), {
    ...{ own: [], isFresh: true, asked: ["10.0.0.11"] },
  });
});

test("F1 without a MAC the subnet of the previous run is the evidence", async () => {
  const leases = [vxlan("10.0.0.11"), vxlan("10.0.0.12")];
  const me = vxlan("10.0.0.21");
  assert.deepEqual((await recognize(leases, me, { previous: 2 })).own, [2]);
  assert.deepEqual(await recognize(leases, me, { previous: 2, living: ["10.0.0.12"] }), {
    ...{ own: [], isFresh: false, asked: ["10.0.0.12"] },
  });
  assert.deepEqual(await recognize(leases, me), { own: [], isFresh: false, asked: [] });
});

test("F1 a kept MAC that differs from the lease's outweighs the previous subnet; a MAC just drawn does not", async () => {
  const leases = [vxlan("10.0.0.11", "0a:00:00:00:00:0c")];
  const me = vxlan("10.0.0.21", MAC);
  assert.deepEqual((await recognize(leases, me, { previous: 1 })).own, []);
  assert.deepEqual((await recognize(leases, me, { previous: 1, isKept: false })).own, [1]);
});

test("F1 of several own leases the one with the host's MAC comes first; other backends' are not own", async () => {
  const leases = [vxlan("10.0.0.21", "0a:00:00:00:00:0c"), vxlan("10.0.0.11", MAC)];
  assert.deepEqual((await recognize(leases, vxlan("10.0.0.21", MAC))).own, [2, 1]);
  const wireguard = { ...vxlan("10.0.0.11", MAC), backendType: "wireguard" };
  assert.deepEqual((await recognize([wireguard], vxlan("10.0.0.21", MAC), { previous: 1 })).own, []);
});

test("F1 hosts that swap their addresses are no clones", async () => {
  const other = "0a:00:00:00:00:0c";
  const swapped = [vxlan("10.0.0.11", MAC), vxlan("10.0.0.12", other)];
  const living = ["10.0.0.11", "10.0.0.12"];
  assert.deepEqual(await recognize(swapped, vxlan("10.0.0.12", MAC), { living }), {
    ...{ own: [1, 2], isFresh: false, asked: [] },
  });
  const half = [vxlan("10.0.0.12", MAC), vxlan("10.0.0.12", other)];
  assert.deepEqual(await recognize(half, vxlan("10.0.0.11", other), { living, renewedAt: [9n, 5n] }), {
    ...{ own: [2], isFresh: false, asked: [] },
  });
  assert.equal(
    (await recognize(half, vxlan("10.0.0.11", other), { living, renewedAt: [5n, 9n] })).isFresh,
    true,
  );
});
