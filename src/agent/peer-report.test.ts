import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import { ADDRESS, FDB, LINK, NEIGHBOUR, ROUTE, stateOf } from "../testing/sample-objects.ts";
import { findPeer, reportPeerDetail, reportPeers } from "./peer-report.ts";
import { reportPlan } from "./plan-report.ts";
import type { RouteInput } from "./route-report.ts";

const leaseOf = (number: number): Lease => ({
  key: `10.5.${number}.0-24`,
  subnets: { ipv4: parsePrefix(`10.5.${number}.0/24`), ipv6: undefined },
  attributes: {
    publicIp: parseIp(`192.168.7.${number}`),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: undefined,
    backendV6Data: undefined,
  },
});
const PEER = leaseOf(2);
const OTHER = { ...ROUTE, destination: "10.5.3.0/24", via: "10.5.3.0" };
const ALL = stateOf([LINK, ADDRESS, FDB, NEIGHBOUR, ROUTE, OTHER]);
const INPUT: RouteInput = {
  ...{ peers: [PEER, leaseOf(3)], problems: [], devices: new Set(["flannel.1"]), backendType: "vxlan" },
  ...{ obstacle: undefined, desired: ALL, observed: ALL, refusals: [] },
};

test("a peer is found by its key or its subnet", () => {
  for (const name of ["10.5.2.0-24", "10.5.2.0/24"]) assert.equal(findPeer(INPUT.peers, name), PEER);
  for (const name of ["10.5.2.0", "10.5.9.0/24", "", "__proto__"])
    assert.equal(findPeer(INPUT.peers, name), undefined);
});

test("a peer's objects are those that name its subnet or address, with their states", () => {
  const message = "failed: ENOBUFS";
  const observed = stateOf([LINK, ADDRESS, ROUTE, OTHER]);
  const { objects, routes } = reportPeerDetail(PEER, {
    ...INPUT,
    observed,
    refusals: [{ object: FDB, message }],
  });
  assert.deepEqual(
    objects.map(({ kind, state, reason }) => [kind, state, reason]),
    [
      ["fdb", "failed", message],
      ["neighbour", "pending", undefined],
      ["route", "programmed", undefined],
    ],
  );
  assert.deepEqual(
    routes.map(({ subnet, state }) => [subnet, state]),
    [["10.5.2.0/24", "failed"]],
  );
});

test("a WireGuard peer is found by the key of its allowed IPs", () => {
  const allowed = { kind: "allowed-ip", device: "flannel.1", prefix: "10.5.2.0/24", publicKey: "K" } as const;
  const entry = {
    kind: "wireguard-peer",
    ...{ device: "flannel.1", publicKey: "K", endpoint: "192.168.7.2:51820" },
    ...{ keepaliveSeconds: 0, presharedKeyId: "" },
  } as const;
  const state = stateOf([entry, allowed]);
  const { objects } = reportPeerDetail(PEER, { ...INPUT, desired: state, observed: state });
  assert.deepEqual(
    objects.map(({ kind }) => kind),
    ["wireguard-peer", "allowed-ip"],
  );
});

test("problems are shown with their peers", () => {
  const problems = [{ key: PEER.key, message: "no BackendData" }];
  const [peer, other] = [...reportPeers({ ...INPUT, problems })];
  assert.deepEqual([peer!.problem, other!.problem], ["no BackendData", undefined]);
  assert.equal(reportPeerDetail(PEER, { ...INPUT, problems }).problem, "no BackendData");
});

test("the plan lists what is pending, refused and blocked, and rules that are not applied", () => {
  const message = "failed: ENOBUFS";
  const reconciler = {
    pending: {
      operations: [
        { action: "create", object: FDB },
        { action: "remove", object: OTHER },
      ],
      obstacles: [{ key: "link flannel.1", message: "device flannel.1 exists" }],
    },
    refusals: [{ object: FDB, message }],
    status: { converged: false, problems: [message], passes: 1, repairs: 0 },
  } as const;
  const found = [...reportPlan(reconciler, { pending: { reason: "nft: denied" } })];
  assert.deepEqual(
    found.map(({ action, kind, reason }) => [action, kind, reason]),
    [
      ["blocked", "link", "device flannel.1 exists"],
      ["create", "fdb", message],
      ["remove", "route", undefined],
      ["replace", "firewall", "nft: denied"],
    ],
  );
  const converged = { ...reconciler, status: { ...reconciler.status, converged: true } };
  assert.deepEqual([...reportPlan(converged, { pending: undefined })], []);
});
