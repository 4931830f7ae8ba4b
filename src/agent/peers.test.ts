import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import { createLeaseTable } from "../lease/lease-table.ts";
import { ownSubnetProblems, sharedAddressProblems } from "./peers.ts";

const node = (key: string, publicIp: string, publicIpv6?: string): Lease => ({
  key,
  subnets: { ipv4: undefined, ipv6: undefined },
  attributes: {
    publicIp: parseIp(publicIp),
    publicIpv6: publicIpv6 === undefined ? undefined : parseIp(publicIpv6),
    backendType: "vxlan",
    backendData: undefined,
    backendV6Data: undefined,
  },
});

function problems(leases: readonly Lease[], ownKey?: string, told: readonly string[] = []): string[] {
  const table = createLeaseTable();
  table.apply({ type: "snapshot", leases });
  const known = told.map((key) => ({ key, message: "no MAC" }));
  return sharedAddressProblems(table.sharedPublicIps(), ownKey, known).map(
    ({ key, message }) => `${key}: ${message.split(",")[0]}`,
  );
}

test("two hosts with one public address: one of the two is named, always the same", () => {
  const leases = [node("c", "192.0.2.1"), node("b", "192.0.2.2"), node("a", "192.0.2.1")];
  const expected = ["c: its public IP 192.0.2.1 is also that of a"];
  assert.deepEqual(problems(leases), expected);
  assert.deepEqual(problems(leases.toReversed()), expected);
  assert.deepEqual(problems(leases, "c"), ["a: its public IP 192.0.2.1 is also that of this host"]);
  assert.deepEqual(problems(leases, "b", ["c"]), [], "what is wrong with it was told already");
  assert.deepEqual(problems([node("a", "192.0.2.1"), node("b", "192.0.2.2")]), []);
});

test("the families are apart", () => {
  const leases = [node("a", "0.0.0.9", "::9"), node("b", "192.0.2.2", "::9"), node("c", "192.0.2.3", "::9")];
  assert.deepEqual(problems(leases), [
    "b: its public IP ::9 is also that of a",
    "c: its public IP ::9 is also that of a",
  ]);
});

test("F2 a host whose subnet overlaps an established one learns that peers do not route to it", () => {
  const lease = (key: string, subnet: string, establishedAt: bigint): Lease => ({
    ...node(key, "192.0.2.1"),
    subnets: { ipv4: parsePrefix(subnet), ipv6: undefined },
    establishedAt,
  });
  const [h1, aaa] = [lease("h1", "10.5.0.0/24", 1n), lease("aaa", "10.5.0.0/22", 2n)];
  assert.deepEqual(ownSubnetProblems(h1, [aaa]), []);
  assert.match(
    ownSubnetProblems(aaa, [h1, lease("h2", "10.5.9.0/24", 1n)]).join(),
    /^Peers do not route to this host: its subnet 10\.5\.0\.0\/22 overlaps 10\.5\.0\.0\/24 of h1, which was established first/,
  );
  assert.deepEqual(ownSubnetProblems(undefined, [h1]), []);
});
