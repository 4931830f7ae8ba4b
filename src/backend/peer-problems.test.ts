/** Public IPs that are no peer's, and those that are although they look so. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { publicIpProblem } from "./peer-problems.ts";

const prefix = (text: string) => parsePrefix(text)!;
const ip = (text: string) => parseIp(text)!;

const LOCAL = [
  ["192.168.7.1", 24],
  ["192.168.7.100", 32],
  ["172.17.0.1", 16],
  ["198.51.100.4", 31],
  ["fd00:7::1", 64],
] as const;

const IPV4 = {
  own: ip("203.0.113.7"),
  local: ip("192.168.7.1"),
  localAddresses: LOCAL.map(([text, prefixLength]) => ({ ip: ip(text), prefixLength })),
  network: prefix("10.5.0.0/16"),
  subnets: [prefix("10.5.2.0/24"), prefix("10.5.1.0/24")],
};
const IPV6 = {
  ...IPV4,
  own: ip("fd00:7::1"),
  local: ip("fd00:7::1"),
  network: prefix("fc00::/48"),
  subnets: [prefix("fc00:0:0:2::/64")],
};

test("F24 a public IP that cannot be a peer's is refused", () => {
  for (const [text, problem, context = IPV4] of [
    ["192.168.7.255", /the broadcast address of 192\.168\.7\.0\/24, a link of this host/],
    ["192.168.7.0", /the network address of 192\.168\.7\.0\/24/],
    ["172.17.255.255", /the broadcast address of 172\.17\.0\.0\/16/],
    ["192.168.7.1", /is an address of this host/],
    ["192.168.7.100", /is an address of this host/],
    ["172.17.0.1", /is an address of this host/],
    ["203.0.113.7", /is this host's own/],
    ["255.255.255.255", /is not a unicast address/],
    ["10.5.77.9", /is inside the flannel network 10\.5\.0\.0\/16/],
    ["10.5.2.9", /is inside the subnet 10\.5\.2\.0\/24/],
    ["10.5.1.1", /is inside the subnet 10\.5\.1\.0\/24/],
    ["fd00:7::1", /is this host's own/, IPV6],
    ["fc00:0:0:2::9", /is inside the subnet fc00:0:0:2::\/64/, IPV6],
    ["fc00:0:0:9::9", /is inside the flannel network fc00::\/48/, IPV6],
  ] as const) {
    assert.match(publicIpProblem(ip(text), context) ?? "none", problem, text);
  }
});

test("F24 other addresses are accepted", () => {
  for (const [text, context = IPV4] of [
    ["192.168.7.2"],
    ["192.168.7.254"],
    ["192.168.8.255"], // on no link of this host: its length is unknown
    ["192.168.8.0"],
    ["198.51.100.5"], // RFC 3021: a link of two addresses has neither network nor broadcast
    ["fd00:7::", IPV6], // no broadcast in IPv6
    ["fd00:7::ffff:ffff:ffff:ffff", IPV6],
  ] as const) {
    assert.equal(publicIpProblem(ip(text), context), undefined, text);
  }
});

test("F24 if the hosts are inside the flannel network, their addresses are refused only inside subnets", () => {
  const inside = {
    ...IPV4,
    local: ip("10.5.0.1"),
    localAddresses: [{ ip: ip("10.5.0.1"), prefixLength: 24 }],
  };
  assert.equal(publicIpProblem(ip("10.5.0.2"), inside), undefined);
  assert.equal(publicIpProblem(ip("10.5.77.2"), inside), undefined);
  assert.match(publicIpProblem(ip("10.5.2.2"), inside)!, /inside the subnet/);
  assert.match(publicIpProblem(ip("10.5.0.255"), inside)!, /broadcast/);
});
