import assert from "node:assert/strict";
import { test } from "node:test";
import { formatTable } from "../base/table.ts";
import type { LeaseRecord } from "../lease/lease-admin.ts";
import { decodeLease, isProblem } from "../lease/lease-codec.ts";
import { compareRecords, describeExpiry, formatDuration, headerOf, jsonOf, rowOf } from "./lease-text.ts";

function record(key: string, value: string, lifeId?: string): LeaseRecord {
  const lease = decodeLease(key, value);
  const state = { key, lifeId, revision: 7n };
  return isProblem(lease)
    ? { ...state, subnets: undefined, attributes: undefined, problem: lease.problem }
    : { ...state, subnets: lease.subnets, attributes: lease.attributes, problem: undefined };
}

const VXLAN =
  '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}';

const EXPECTED = String.raw`
SUBNET                   PUBLIC IP                 BACKEND  EXPIRES IN  NODE DATA
9.5.20.0/24              192.168.64.9              \x1b[2J  1m 0s       -
10.5.20.0/24             192.168.64.3              vxlan    1m 0s       {"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}
10.5.100.0/24,fc00::/64  192.168.64.4,2001:db8::4  -        never       -
fc00:1::/64              2001:db8::5               -        1m 0s       -
\x1b[31mred              -                         -        never       invalid: the key is not a subnet like 10.5.52.0-24
`
  .trim()
  .split("\n");

test("a table of leases, invalid keys and reservations, sorted by subnet", () => {
  const records = [
    record("\x1b[31mred", "{}"),
    record("10.5.100.0-24&fc00::-64", '{"PublicIP":"192.168.64.4","PublicIPv6":"2001:db8::4"}'),
    record("0.0.0.0-0&fc00:1::-64", '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::5"}', "1"),
    record("10.5.20.0-24", VXLAN, "12"),
    record("9.5.20.0-24", '{"PublicIP":"192.168.64.9","BackendType":"\\u001b[2J"}', "12"),
  ].sort(compareRecords);
  const rows = records.map((each) => rowOf(each, describeExpiry(each, 90_000, 30_000)));
  assert.deepEqual(formatTable([headerOf(), ...rows]), EXPECTED);
});

test("nodes are listed with their names, without reservations", () => {
  const records = [
    { ...record("10.5.20.0-24", VXLAN), key: "node-1" },
    { ...record("junk", "{}"), key: "node-2\x1b[2J", problem: "it has no podCIDR" },
  ];
  const rows = records.map((each) => rowOf(each, "never", true));
  assert.deepEqual(
    formatTable([headerOf(true), ...rows]).map((line) => line.split(/ {2,}/)),
    [
      ["NODE", "SUBNET", "PUBLIC IP", "BACKEND", "EXPIRES IN", "NODE DATA"],
      ["node-1", "10.5.20.0/24", "192.168.64.3", "vxlan", "never", '{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}'],
      [String.raw`node-2\x1b[2J`, "-", "-", "-", "never", "no lease: it has no podCIDR"],
    ],
  );
  assert.equal(jsonOf(records[0]!, undefined).reservation, true);
  assert.equal(jsonOf(records[0]!, undefined, true).reservation, false);
});

test("text that is too long for a line is cut, but not in JSON", () => {
  const data = JSON.stringify({ PublicIP: "192.168.64.3", BackendData: { blob: "x".repeat(5000) } });
  const long = record("10.5.20.0-24", data);
  assert.equal(rowOf(long, "1s")[4]!.length, 101);
  assert.equal(rowOf(record("k".repeat(5000), "{}"), "1s")[0]!.length, 61);
  assert.equal(JSON.stringify(jsonOf(long, undefined)).length > 5000, true);
});

test("durations in their two largest units", () => {
  const cases: readonly (readonly [ms: number, text: string])[] = [
    [-5000, "0s"],
    [0, "0s"],
    [41_600, "42s"],
    [3_543_000, "59m 3s"],
    [86_399_000, "23h 59m"],
    [86_400_000, "1d 0h"],
    [3_000_000_000, "34d 17h"],
  ];
  for (const [ms, text] of cases) assert.equal(formatDuration(ms), text);
  assert.equal(describeExpiry(record("10.5.20.0-24", VXLAN), undefined, 0), "never");
  assert.equal(describeExpiry(record("10.5.20.0-24", VXLAN, "1"), undefined, 0), "expired");
});
