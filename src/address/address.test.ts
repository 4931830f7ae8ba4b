/** Addresses, prefixes and MACs: known texts, round trips, and the quick parser against a slow obvious one. */

import assert from "node:assert/strict";
import { isIPv4, isIPv6 } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { formatIp, formatIpBytes, ipFromBytes, ipToBytes, parseIp, parseIpBytes } from "./ip.ts";
import { isUnicastMac, localMac, parseMac } from "./mac.ts";
import {
  addressAt,
  baseOf,
  containsIp,
  containsPrefix,
  formatPrefix,
  overlaps,
  parsePrefix,
  sizeOf,
} from "./prefix.ts";

const ipv4 = fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }).map((value) => ({ family: 4 as const, value }));
const ipv6 = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((value) => ({ family: 6 as const, value }));
/** Texts that look like addresses, most of them wrong. */
const addressLike = fc.string({ unit: fc.constantFrom(..."0123456789.:af"), maxLength: 20 });

test("formats addresses as RFC 5952 specifies", () => {
  const cases = {
    "2001:DB8::1": "2001:db8::1",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
    "0:0:0:0:0:0:0:0": "::",
    "::ffff:10.0.0.1": "::ffff:10.0.0.1",
    "fe80::1:2": "fe80::1:2",
    "1::": "1::",
  };
  for (const [text, canonical] of Object.entries(cases)) {
    assert.equal(formatIp(parseIp(text)!), canonical);
    assert.equal(formatIpBytes(parseIpBytes(text)!), canonical);
  }
});

test("refuses text that is not an address", () => {
  for (const text of [
    "",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "1.2.3.04",
    "1..2.3",
    ".1.2.3",
    "1.2.3.",
    "1.2.3.4 ",
  ]) {
    assert.equal(parseIp(text), undefined, text);
  }
  for (const text of [
    ":",
    ":::",
    "1:2:3",
    "::1::",
    "1:2:3:4:5:6:7:8:9",
    "fe80::1%eth0",
    "12345::",
    "::1.2.3",
    "g::",
  ]) {
    assert.equal(parseIp(text), undefined, text);
  }
});

test("text and bytes of every address round-trip", () => {
  fc.assert(
    fc.property(fc.oneof(ipv4, ipv6), (ip) => {
      assert.deepEqual(parseIp(formatIp(ip)), ip);
      assert.deepEqual(ipFromBytes(ipToBytes(ip)), ip);
      assert.deepEqual(parseIpBytes(formatIp(ip)), ipToBytes(ip));
      assert.equal(formatIpBytes(ipToBytes(ip)), formatIp(ip));
    }),
  );
});

test("accepts the same addresses as Node.js", () => {
  fc.assert(
    fc.property(fc.oneof(addressLike, ipv4.map(formatIp), ipv6.map(formatIp)), (text) => {
      const expected = isIPv4(text) ? 4 : isIPv6(text) ? 6 : undefined;
      assert.equal(parseIp(text)?.family, expected, text);
    }),
    { numRuns: 2000 },
  );
});

test("prefixes: host bits are masked off, lengths checked", () => {
  assert.equal(formatPrefix(parsePrefix("10.5.72.1/24")!), "10.5.72.0/24");
  assert.equal(formatPrefix(parsePrefix("fc00::1/64")!), "fc00::/64");
  for (const text of ["10.5.0.0", "10.5.0.0/33", "10.5.0.0/-1", "10.5.0.0/", "fc00::/129", "x/8"]) {
    assert.equal(parsePrefix(text), undefined, text);
  }
  const subnet = parsePrefix("10.5.72.0/24")!;
  assert.equal(formatIp(addressAt(subnet, 1n)), "10.5.72.1");
  assert.equal(sizeOf(subnet), 256n);
});

test("two prefixes overlap exactly if one contains the other's base", () => {
  const prefix = fc
    .tuple(fc.bigInt({ min: 0n, max: 255n }), fc.integer({ min: 24, max: 32 }))
    .map(([host, length]) => parsePrefix(`${formatIp({ family: 4, value: 0x0a050000n + host })}/${length}`)!);
  fc.assert(
    fc.property(prefix, prefix, (a, b) => {
      const shared = Array.from({ length: 256 }, (_, host) => ({
        family: 4 as const,
        value: 0x0a050000n + BigInt(host),
      }));
      const sharesAny = shared.some((ip) => containsIp(a, ip) && containsIp(b, ip));
      assert.equal(overlaps(a, b), sharesAny);
      assert.equal(containsPrefix(a, b), a.length <= b.length && containsIp(a, baseOf(b)));
    }),
  );
});

test("MACs: canonical text, kinds, and random ones that are local and unicast", () => {
  assert.equal(parseMac("C6-D2-32-6F-8F-44"), "c6:d2:32:6f:8f:44");
  for (const text of [
    "",
    "c6:d2:32:6f:8f",
    "c6:d2:32:6f:8f:44:00",
    "c6:d2-32:6f:8f:44",
    "g6:d2:32:6f:8f:44",
  ]) {
    assert.equal(parseMac(text), undefined, text);
  }
  assert.equal(isUnicastMac("01:00:5e:00:00:01"), false);
  assert.equal(isUnicastMac("00:00:00:00:00:00"), false);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (random) => {
      const mac = localMac(random);
      assert.equal(parseMac(mac), mac);
      assert.ok(isUnicastMac(mac));
      assert.equal(Number.parseInt(mac.slice(0, 2), 16) & 2, 2);
    }),
  );
});
