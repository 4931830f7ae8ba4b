import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { StateObject } from "../state/objects.ts";
import { ADDRESS, FDB, LINK, NEIGHBOUR, ROUTE, stateOf } from "../testing/sample-objects.ts";
import { findDestination, type PathInput, reportPath } from "./path-report.ts";

const PEER: Lease = {
  key: "10.5.2.0-24",
  subnets: { ipv4: parsePrefix("10.5.2.0/24"), ipv6: undefined },
  attributes: {
    publicIp: parseIp("192.168.7.2"),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: undefined,
    backendV6Data: undefined,
  },
};
const OTHER: readonly StateObject[] = [
  { ...ROUTE, destination: "10.5.3.0/24", via: "10.5.3.0" },
  { ...NEIGHBOUR, address: "10.5.3.0", mac: "02:00:00:00:01:03" },
  { ...FDB, mac: "02:00:00:00:01:03", destination: "192.168.7.3" },
];
const ALL = [LINK, ADDRESS, FDB, NEIGHBOUR, ROUTE, ...OTHER];

const objectsOf = (changes: Partial<PathInput>) =>
  reportPath({
    ...{ peer: PEER, problems: [], own: { ipv4: parsePrefix("10.5.1.0/24"), ipv6: undefined } },
    externalInterface: { name: "eth0", mtuBytes: 1500, addresses: ["192.168.7.1"] },
    ...{ desired: stateOf(ALL), observed: stateOf(ALL), refusals: [] },
    ...changes,
  }).ways.flatMap(({ objects }) => objects.map(({ kind, state, reason }) => [kind, state, reason]));

test("a packet meets route, neighbour, FDB entry and device of its peer, and of no other", () => {
  assert.deepEqual(objectsOf({}), [
    ["route", "programmed", undefined],
    ["neighbour", "programmed", undefined],
    ["fdb", "programmed", undefined],
    ["link", "programmed", undefined],
  ]);
});

test("each object says whether it is in place", () => {
  const observed = stateOf([LINK, { ...ROUTE, via: "10.5.9.0" }, FDB]);
  assert.deepEqual(objectsOf({ observed, refusals: [{ object: FDB, message: "failed: ENOBUFS" }] }), [
    ["route", "different", "in place: route 10.5.2.0/24 via 10.5.9.0 dev flannel.1 onlink"],
    ["neighbour", "missing", undefined],
    ["fdb", "failed", "failed: ENOBUFS"],
    ["link", "programmed", undefined],
  ]);
});

test("a WireGuard peer is found by its key, a policy by its direction; no fingerprint of a preshared key is shown", () => {
  const device = "flannel-wg";
  const publicKey = "k2";
  const wireguard: readonly StateObject[] = [
    { kind: "allowed-ip", device, prefix: "10.5.2.0/24", publicKey },
    { kind: "allowed-ip", device, prefix: "10.5.3.0/24", publicKey: "k3" },
    {
      ...{ kind: "wireguard-peer", device, publicKey, endpoint: "192.168.7.2:51820" },
      ...{ keepaliveSeconds: 0, presharedKeyId: "fingerprint" },
    },
    { kind: "xfrm-policy", direction: "in", source: "10.5.2.0/24", destination: "10.5.1.0/24", ...ENDS },
    { kind: "xfrm-policy", direction: "out", source: "10.5.1.0/24", destination: "10.5.2.0/24", ...ENDS },
  ];
  const desired = stateOf(wireguard);
  assert.deepEqual(
    objectsOf({ desired, observed: desired }).map(([kind]) => kind),
    ["xfrm-policy", "allowed-ip", "wireguard-peer"],
  );
  const { ways } = reportPath({
    ...{ peer: PEER, problems: [], own: undefined, desired, observed: desired, refusals: [] },
    externalInterface: { name: "eth0", mtuBytes: 1500, addresses: [] },
  });
  assert.doesNotMatch(JSON.stringify(ways), /fingerprint/);
});

const ENDS = { tunnelSource: "192.168.7.1", tunnelDestination: "192.168.7.2" };

test("a peer is named by key, by subnet or by an address in it", () => {
  for (const to of ["10.5.2.0-24", "10.5.2.0/24", "10.5.2.77"])
    assert.equal(findDestination([PEER], to), PEER, to);
  for (const to of ["", "10.5.3.1", "10.5.2.0/25", "fd00::1", "__proto__"])
    assert.equal(findDestination([PEER], to), undefined, to);
});
