import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import type { Lease, SubnetPair } from "../lease/lease.ts";
import { decodeLeaseKey } from "../lease/lease-codec.ts";
import { defaultBackend, describeTypes, typeConflicts } from "./backend-types.ts";

/** Leases of these types; "reserved" = a reservation that no host has claimed. */
const leases = (...types: string[]): Lease[] =>
  types.map((type, index) => {
    const key = `10.5.${index + 1}.0-24`;
    return {
      key,
      subnets: decodeLeaseKey(key) as SubnetPair,
      attributes: {
        publicIp: parseIp(`192.168.7.${index + 1}`),
        publicIpv6: undefined,
        backendType: type === "reserved" ? "" : type,
        backendData: undefined,
        backendV6Data: undefined,
      },
      establishedAt: 1n,
      renewedAt: type === "reserved" ? undefined : 2n,
    };
  });

/** A Kubernetes node: nothing is renewed, the key is its name. */
const node = (key: string, backendType: string): Lease => ({
  ...leases(backendType)[0]!,
  key,
  renewedAt: undefined,
});

const ALL = ["vxlan", "host-gw", "udp"];
const choose = (types: string[], usable = ALL) => defaultBackend(leases(...types), usable);

test("F9 a config without a backend means what most leases run, vxlan if there are none", () => {
  assert.deepEqual(choose([]), { type: "vxlan", reason: "there are no leases yet" });
  assert.deepEqual(choose(["", ""]), { type: "udp", reason: "2 of 2 leases run it" });
  assert.deepEqual(choose(["host-gw", "", "host-gw", "vxlan"]), {
    type: "host-gw",
    reason: "2 of 4 leases run it",
  });
  assert.equal(choose(["VXLAN", "Host-GW", "HOST-GW"]).type, "host-gw");
});

test("F9 of types with equally many leases vxlan is chosen, then the first by name, in any order of leases", () => {
  for (const types of [
    ["", "vxlan"],
    ["vxlan", ""],
    ["host-gw", "", "vxlan"],
  ])
    assert.equal(choose(types).type, "vxlan");
  for (const types of [
    ["", "host-gw"],
    ["host-gw", ""],
  ])
    assert.equal(choose(types).type, "host-gw");
});

test("F9 types that this version or network cannot run do not count", () => {
  const reason = "no lease names a backend that can be used here";
  assert.deepEqual(choose(["wireguard", "junk"]), { type: "vxlan", reason });
  assert.deepEqual(choose(["", ""], ["vxlan", "host-gw"]), { type: "vxlan", reason }); // udp with IPv6
  assert.equal(choose(["wireguard", "wireguard", "host-gw"]).type, "host-gw");
});

test("F9 a reservation that no host has claimed is no udp host; a node without a type is", () => {
  assert.equal(choose(["reserved", "reserved"]).type, "vxlan");
  assert.equal(choose(["reserved", "reserved", "host-gw"]).type, "host-gw");
  assert.equal(defaultBackend([node("node1", "")], ALL).type, "udp");
  assert.deepEqual(typeConflicts(leases("reserved"), "vxlan"), []);
  assert.equal(describeTypes(leases("reserved", "vxlan")), undefined);
});

test("F9 each other type among the peers is a conflict; many peers are counted", () => {
  assert.deepEqual(typeConflicts(leases("vxlan", "vxlan"), "vxlan"), []);
  assert.deepEqual(typeConflicts(leases("", ""), "udp"), []);
  assert.deepEqual(typeConflicts(leases("vxlan", "", "host-gw", ""), "vxlan"), [
    'Peer 10.5.3.0-24 runs backend "host-gw" and this host "vxlan", so there is no route between them; set Backend.Type in the network config and restart flanneld on every host',
    'Peers 10.5.2.0-24, 10.5.4.0-24 run backend "udp" and this host "vxlan", so there is no route between them; set Backend.Type in the network config and restart flanneld on every host',
  ]);
  const many = (count: number) => typeConflicts(leases(...new Array<string>(count).fill("")), "vxlan");
  assert.match(many(4).join(), /^More than 3 peers run backend "udp" and this host "vxlan"/);
  assert.deepEqual(many(200), many(4));
});

test("F9 names of types from the datastore are quoted and cut", () => {
  const [line] = typeConflicts(leases(`x\n${"y".repeat(100)}`), "vxlan");
  assert.match(line!, /^Peer 10\.5\.1\.0-24 runs backend "x\\ny{38}" and/);
});

test("F9 all leases of a cluster: one line if they run different backends", () => {
  assert.equal(describeTypes(leases("vxlan", "vxlan")), undefined);
  assert.equal(describeTypes([]), undefined);
  assert.match(
    describeTypes(leases("vxlan", "", "vxlan"))!,
    /^hosts run different backends, so there are no routes between them \(vxlan: 2, udp: 1\); set Backend\.Type/,
  );
});
