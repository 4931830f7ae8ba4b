import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatIp } from "../address/ip.ts";
import type { Lease } from "./lease.ts";
import { decodeLease, isProblem } from "./lease-codec.ts";
import { createLeaseTable } from "./lease-table.ts";

function lease(key: string, publicIp: string, mac = "02:00:00:00:00:01"): Lease {
  const decoded = decodeLease(
    key,
    JSON.stringify({ PublicIP: publicIp, BackendType: "vxlan", BackendData: { VNI: 1, VtepMAC: mac } }),
  );
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return decoded;
}

const A = "10.5.1.0-24";
const B = "10.5.2.0-24";
const C = "10.5.3.0-24";

describe("lease table", () => {
  it("applies a snapshot and changes, and says whether anything is different", () => {
    const table = createLeaseTable();
    assert.equal(table.apply({ type: "snapshot", leases: [] }), false);
    assert.equal(table.apply({ type: "snapshot", leases: [lease(A, "192.168.0.1")] }), true);
    assert.equal(table.apply({ type: "put", lease: lease(B, "192.168.0.2") }), true);
    assert.equal(table.apply({ type: "put", lease: lease(B, "192.168.0.2") }), false);
    assert.equal(table.apply({ type: "put", lease: lease(B, "192.168.0.3") }), true);
    assert.equal(table.apply({ type: "delete", key: C }), false);
    assert.equal(table.apply({ type: "delete", key: A }), true);
    assert.equal(table.size, 1);
    assert.equal(formatIp(table.get(B)!.attributes.publicIp!), "192.168.0.3");
  });

  it("W3 a snapshot drops who is gone, replaces who changed, keeps the objects of the others", () => {
    const table = createLeaseTable();
    const first = [lease(A, "192.168.0.1"), lease(B, "192.168.0.2"), lease(C, "192.168.0.3")];
    table.apply({ type: "snapshot", leases: first });
    const second = [lease(A, "192.168.0.1"), lease(B, "192.168.0.2", "02:00:00:00:00:ff")];
    assert.equal(table.apply({ type: "snapshot", leases: second }), true);
    assert.equal(table.get(A), first[0]);
    assert.equal(table.get(B), second[1]);
    assert.equal(table.get(C), undefined);
    const third = [lease(A, "192.168.0.1"), lease(B, "192.168.0.2", "02:00:00:00:00:ff")];
    assert.equal(table.apply({ type: "snapshot", leases: third }), false);
  });

  it("W2 the own lease is among all, not among the peers", () => {
    const table = createLeaseTable();
    table.apply({ type: "snapshot", leases: [lease(A, "192.168.0.1"), lease(B, "192.168.0.2")] });
    assert.deepEqual(
      table.peers(A).map(({ key }) => key),
      [B],
    );
    assert.deepEqual(
      table.peers(undefined).map(({ key }) => key),
      [A, B],
    );
    assert.notEqual(table.get(A), undefined);
  });

  it("tells which hosts claim one public address", () => {
    const table = createLeaseTable();
    table.apply({
      type: "snapshot",
      leases: [lease(A, "192.168.0.1"), lease(B, "192.168.0.2"), lease(C, "192.168.0.1")],
    });
    const shared = table.sharedPublicIps();
    assert.deepEqual(
      shared.map(({ ip, leases }) => [formatIp(ip), leases.map(({ key }) => key)]),
      [["192.168.0.1", [A, C]]],
    );
  });
});

describe("lease table and the age of leases", () => {
  it("takes note of a renewal without reporting a change", () => {
    const table = createLeaseTable();
    const first = { ...lease(A, "192.168.0.1"), establishedAt: 5n, renewedAt: 5n };
    table.apply({ type: "put", lease: first });
    const renewed = { ...lease(A, "192.168.0.1"), establishedAt: 5n, renewedAt: 9n };
    assert.equal(table.apply({ type: "put", lease: renewed }), false);
    assert.equal(table.get(A)?.renewedAt, 9n);
    assert.equal(table.apply({ type: "snapshot", leases: [renewed] }), false);
  });
});
