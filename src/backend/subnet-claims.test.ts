import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatPrefix, overlaps, type Prefix, parsePrefix, prefixOf } from "../address/prefix.ts";
import { createSubnetClaims } from "./subnet-claims.ts";

test("of two peers with overlapping subnets the first keeps its subnet", () => {
  const cases: readonly (readonly [first: string, second: string, isRefused: boolean])[] = [
    ["10.5.2.0/24", "10.5.2.0/24", true],
    ["10.5.2.0/24", "10.5.2.128/25", true],
    ["10.5.2.128/25", "10.5.2.0/24", true],
    ["10.5.2.0/25", "10.5.2.128/25", false],
    ["10.5.2.0/24", "10.5.3.0/24", false],
    ["10.5.2.0/23", "10.5.3.0/24", true],
    ["fc00:0:0:2::/64", "fc00:0:0:2::/64", true],
    ["fc00:0:0:2::/64", "fc00::/48", true],
    ["fc00:0:0:2::/64", "fc00:0:0:3::/64", false],
  ];
  for (const [first, second, isRefused] of cases) {
    const claim = createSubnetClaims();
    assert.equal(claim("a", parsePrefix(first)!), undefined);
    assert.equal(
      claim("b", parsePrefix(second)!),
      isRefused ? `its subnet ${second} overlaps ${first}, which is that of a` : undefined,
    );
  }
});

test("a refused peer claims nothing", () => {
  const claim = createSubnetClaims();
  claim("a", parsePrefix("10.5.2.128/25")!);
  assert.match(claim("b", parsePrefix("10.5.2.0/24")!)!, /that of a$/);
  assert.equal(claim("c", parsePrefix("10.5.2.0/25")!), undefined);
});

test("random subnets: same result as comparing each with all previous ones", () => {
  const subnets = fc.record({ value: fc.bigInt(0n, 255n), length: fc.integer({ min: 24, max: 32 }) });
  const prefix = subnets.map(({ value, length }) => prefixOf({ family: 4, value }, length));
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 20 }), (asked) => {
      const claim = createSubnetClaims();
      const held: Prefix[] = [];
      for (const [index, subnet] of asked.entries()) {
        const isFree = !held.some((other) => overlaps(subnet, other));
        assert.equal(claim(String(index), subnet) === undefined, isFree, formatPrefix(subnet));
        if (isFree) held.push(subnet);
      }
    }),
  );
});
