import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp } from "../address/ip.ts";
import { formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { parsePublicIps, parseSubnets } from "./arguments.ts";

test("one subnet or address per family, in any order", () => {
  const both = parseSubnets("fc00:0:0:3::/64,10.5.3.0/24");
  assert.equal(formatPrefix(both.ipv4!), "10.5.3.0/24");
  assert.equal(formatPrefix(both.ipv6!), "fc00:0:0:3::/64");
  assert.equal(parseSubnets("10.5.3.0/24").ipv6, undefined);
  const ips = parsePublicIps("192.168.64.3,2001:db8::3");
  assert.equal(formatIp(ips.ipv4!), "192.168.64.3");
  assert.equal(formatIp(ips.ipv6!), "2001:db8::3");
});

test("other words are refused with an example", () => {
  const subnets = ["", "10.5.3.0", "10.5.3.0-24", "10.5.3.0/33", "10.5.3.7/24", "10.5.3.0/24,", "x/24"];
  for (const text of subnets) assert.throws(() => parseSubnets(text), ConfigError, text);
  assert.throws(() => parseSubnets("10.5.3.0/24,10.5.4.0/24"), /two IPv4 subnets: one per family/);
  for (const text of ["", "0.0.0.0", "::", "host", "10.5.3.0/24", "1.2.3.4,1.2.3.5"]) {
    assert.throws(() => parsePublicIps(text), ConfigError, text);
  }
});
