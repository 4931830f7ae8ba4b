import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { decodeLease, encodeLeaseValue, isProblem } from "../lease/lease-codec.ts";
import { describeObject } from "../state/objects.ts";
import type { Host, HostKeys } from "./backend.ts";
import { createBackend, parseNetwork } from "./backends.ts";

const PSK = "0123456789abcdef".repeat(6);
const KEYS: HostKeys = {
  publicKey: () => "",
  registerPresharedKey: () => "",
  registerSecret: (text) => (text === PSK ? "sha256:00" : "sha256:01"),
};
const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1500,
  ipv4: parseIp("192.168.7.1"),
  ipv6: undefined,
  publicIp: parseIp("203.0.113.1"),
  publicIpv6: undefined,
};

const networkOf = (members: object = {}, more: object = {}) =>
  parseNetwork(
    JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "ipsec", PSK, ...members }, ...more }),
  );
const backendFor = (members: object = {}) =>
  createBackend(networkOf(members), { existing: [], randomBytes: () => new Uint8Array(6), keys: KEYS });

function peer(number: number, changes: object = {}) {
  const value = { PublicIP: `192.168.7.${number}`, BackendType: "ipsec", ...changes };
  const decoded = decodeLease(`10.5.${number}.0-24`, JSON.stringify(value));
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return decoded;
}

const plan = (members: object = {}) =>
  backendFor(members).plan({
    ...{ host: HOST, network: networkOf(members), nextHop: () => undefined },
    own: { ipv4: parsePrefix("10.5.1.0/24"), ipv6: undefined },
    peers: [peer(2), peer(3, { BackendType: "vxlan" }), peer(4, { PublicIP: "224.0.0.1" })],
  });

test("per peer a policy for each direction, and a connection with Go flannel's name; the key is in none", () => {
  const { state, problems } = plan({ UDPEncap: true });
  assert.deepEqual([...state.values()].map(describeObject), [
    "xfrm policy src 10.5.1.0/24 dst 10.5.2.0/24 dir out tmpl src 203.0.113.1 dst 192.168.7.2 proto esp mode tunnel",
    "xfrm policy src 10.5.2.0/24 dst 10.5.1.0/24 dir in tmpl src 192.168.7.2 dst 203.0.113.1 proto esp mode tunnel",
    "xfrm policy src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd tmpl src 192.168.7.2 dst 203.0.113.1 proto esp mode tunnel",
    "ipsec connection 203.0.113.1-10.5.1.0/24-10.5.2.0/24-192.168.7.2 esp aes128gcm16-sha256-prfsha256-ecp256 in UDP preshared key sha256:00",
  ]);
  assert.equal(problems.length, 1);
  assert.ok(!JSON.stringify([...state.values()]).includes(PSK));
});

test("the lease is as Go flannel's, and the MTU 77 less, 8 more with UDPEncap", () => {
  const { published } = backendFor();
  assert.equal(
    encodeLeaseValue({ publicIp: HOST.publicIp, publicIpv6: undefined, ...published }),
    '{"PublicIP":"203.0.113.1","PublicIPv6":null,"BackendType":"ipsec"}',
  );
  assert.equal(backendFor().mtuBytes(HOST), 1423);
  assert.equal(backendFor({ UDPEncap: true }).mtuBytes(HOST), 1415);
  assert.throws(() => backendFor().mtuBytes({ ...HOST, interfaceMtuBytes: 100 }), ConfigError);
});

test("a short or missing key, IPv6 and malformed proposals are refused, without showing the key", () => {
  assert.throws(
    () => networkOf({ PSK: "tooshortsecret" }),
    (error: Error) => {
      assert.match(
        error.message,
        /Backend\.PSK has 14 characters, and .* at least 96: make one with 'openssl rand/,
      );
      assert.ok(!error.message.includes("tooshortsecret"));
      return true;
    },
  );
  assert.throws(() => networkOf({ PSK: null }), /has 0 characters/);
  assert.throws(() => networkOf({ ESPProposal: "aes128; rm" }), /ESPProposal must be algorithms/);
  assert.throws(() => networkOf({}, { EnableIPv6: true, IPv6Network: "fc00::/48" }), /carries IPv4 only/);
});
