import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { RouteReport } from "../status/api.ts";
import { ADDRESS, FDB, LINK, NEIGHBOUR, ROUTE, stateOf } from "../testing/sample-objects.ts";
import { type RouteInput, reportRoutes } from "./route-report.ts";

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

const ALL = stateOf([LINK, ADDRESS, FDB, NEIGHBOUR, ROUTE]);

/** As JSON, without members that are undefined. */
const report = (changes: Partial<RouteInput> = {}): RouteReport[] =>
  JSON.parse(
    JSON.stringify([
      ...reportRoutes({
        ...{ peers: [PEER], problems: [], devices: new Set(["flannel.1"]), backendType: "vxlan" },
        ...{ obstacle: undefined, desired: ALL, observed: ALL, refusals: [] },
        ...changes,
      }),
    ]),
  );

const BASE = { subnet: "10.5.2.0/24", peer: "10.5.2.0-24", publicIp: "192.168.7.2", backend: "vxlan" };
const WAY = { via: "10.5.2.0", device: "flannel.1" };

test("a route that the kernel has", () => {
  assert.deepEqual(report(), [{ ...BASE, ...WAY, state: "programmed" }]);
});

test("a route that is missing, or another one, is pending", () => {
  const others = [stateOf([LINK]), stateOf([LINK, { ...ROUTE, via: "10.5.9.0" }])];
  for (const observed of others)
    assert.deepEqual(report({ observed, obstacle: "device flannel.1 exists" }), [
      { ...BASE, ...WAY, state: "pending", reason: "device flannel.1 exists" },
    ]);
});

test("what the kernel refused names the peer by subnet, by gateway or by public IP", () => {
  for (const object of [ROUTE, NEIGHBOUR, FDB])
    assert.deepEqual(report({ refusals: [{ object, message: "failed: ENOBUFS" }] }), [
      { ...BASE, ...WAY, state: "failed", reason: "failed: ENOBUFS" },
    ]);
  const other = { ...ROUTE, destination: "10.5.3.0/24", via: "10.5.3.0" };
  assert.equal(report({ refusals: [{ object: other, message: "x" }] })[0]!.state, "programmed");
});

test("in a cloud each peer has its route there itself: programmed, through the external interface", () => {
  const peers = [{ ...PEER, attributes: { ...PEER.attributes, backendType: "" } }];
  const cloud = {
    peers,
    desired: new Map(),
    observed: new Map(),
    backendType: "aws-vpc",
    cloudDevice: "eth0",
  };
  const entry = { ...BASE, backend: "" };
  assert.deepEqual(report(cloud), [{ ...entry, device: "eth0", state: "programmed" }]);
  assert.deepEqual(report({ ...cloud, obstacle: "failed to create cloud-route" }), [
    { ...entry, state: "pending", reason: "failed to create cloud-route" },
  ]);
  assert.equal(report({ ...cloud, peers: [PEER] })[0]!.state, "refused", "a peer with another backend");
});

test("a lease that is unusable is refused, and a doubtful one programmed with the reason", () => {
  const problem = { key: PEER.key, message: "it has no BackendData" };
  assert.deepEqual(report({ desired: stateOf([LINK]), problems: [problem] }), [
    { ...BASE, state: "refused", reason: "it has no BackendData" },
  ]);
  assert.deepEqual(report({ problems: [{ ...problem, isProgrammed: true }] }), [
    { ...BASE, ...WAY, state: "programmed", reason: "it has no BackendData" },
  ]);
});

test("a peer with another backend type has no route, and that says why", () => {
  const desired = stateOf([LINK]);
  assert.match(
    report({ desired, backendType: "host-gw" })[0]!.reason!,
    /its backend type is "vxlan", this host's "host-gw"/,
  );
  assert.equal(report({ desired })[0]!.reason, "the backend programs no routes");
  assert.deepEqual(report({ desired, obstacle: "no lease yet" }), [
    { ...BASE, state: "pending", reason: "no lease yet" },
  ]);
});

test("forwarding entries of the udp backend and allowed IPs of wireguard lead to peers, too", () => {
  const forwarding = {
    kind: "forwarding",
    device: "flannel0",
    destination: "10.5.2.0/24",
    peer: "192.168.7.2",
  } as const;
  const allowedIp = {
    kind: "allowed-ip",
    device: "flannel-wg",
    prefix: "10.5.2.0/24",
    publicKey: "k",
  } as const;
  for (const object of [forwarding, allowedIp]) {
    const desired = stateOf([object]);
    const devices = new Set([object.device]);
    const [programmed] = report({ desired, observed: desired, devices });
    assert.deepEqual([programmed!.state, programmed!.device], ["programmed", object.device]);
    assert.equal(report({ desired, observed: stateOf([]), devices })[0]!.state, "pending");
  }
});

test("both families of a peer are two routes", () => {
  const subnets = { ...PEER.subnets, ipv6: parsePrefix("fc00:0:0:2::/64") };
  const both = report({ peers: [{ ...PEER, subnets }] });
  assert.deepEqual(
    both.map(({ subnet }) => subnet),
    ["10.5.2.0/24", "fc00:0:0:2::/64"],
  );
});
