import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { includesSubnets, overlapsPair, type SubnetPair, sameSubnets } from "./lease.ts";

const pair = (ipv4?: string, ipv6?: string): SubnetPair => ({
  ipv4: ipv4 === undefined ? undefined : parsePrefix(ipv4),
  ipv6: ipv6 === undefined ? undefined : parsePrefix(ipv6),
});

const V4 = pair("10.5.1.0/24");
const V6 = pair(undefined, "fc00::/64");
const DUAL = pair("10.5.1.0/24", "fc00::/64");

test("pairs are the same if both families are, an absent one included", () => {
  assert.equal(sameSubnets(DUAL, pair("10.5.1.0/24", "fc00::/64")), true);
  for (const other of [V4, V6, pair("10.5.1.0/25", "fc00::/64"), pair("10.5.1.0/24", "fc00:1::/64")]) {
    assert.equal(sameSubnets(DUAL, other), false);
    assert.equal(sameSubnets(other, DUAL), false);
  }
});

test("a pair includes what it names itself, and needs no family that is not asked for", () => {
  for (const wanted of [V4, V6, DUAL, pair()]) assert.equal(includesSubnets(DUAL, wanted), true);
  assert.equal(includesSubnets(V4, DUAL), false);
  assert.equal(includesSubnets(DUAL, pair("10.5.0.0/16")), false);
});

test("pairs overlap if one family does", () => {
  assert.equal(overlapsPair(DUAL, pair("10.5.0.0/16", "fd00::/64")), true);
  assert.equal(overlapsPair(DUAL, pair("10.6.0.0/16", "fc00::/32")), true);
  assert.equal(overlapsPair(V4, V6), false);
});
