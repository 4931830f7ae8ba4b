import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type Ip, parseIp } from "../address/ip.ts";
import { parsePrefix, prefixOf } from "../address/prefix.ts";
import type { LeaseAttributes } from "./lease.ts";
import {
  decodeLease,
  decodeLeaseKey,
  decodeLeaseValue,
  encodeLeaseKey,
  encodeLeaseValue,
  isProblem,
} from "./lease-codec.ts";

const ipv4: fc.Arbitrary<Ip> = fc
  .bigInt({ min: 1n, max: 2n ** 32n - 1n })
  .map((value) => ({ family: 4, value }));
const ipv6: fc.Arbitrary<Ip> = fc
  .bigInt({ min: 1n, max: 2n ** 128n - 1n })
  // ::ffff:a.b.c.d has dots in it, which the key has no place for
  .filter((value) => value >> 32n !== 0xffffn)
  .map((value) => ({ family: 6, value }));

describe("lease key", () => {
  const good: readonly [key: string, ipv4: string | undefined, ipv6: string | undefined][] = [
    ["10.5.52.0-24", "10.5.52.0/24", undefined],
    ["10.5.52.0-24&fc00:0:0:34::-64", "10.5.52.0/24", "fc00:0:0:34::/64"],
    ["0.0.0.0-0&fc00:0:0:34::-64", undefined, "fc00:0:0:34::/64"],
  ];
  for (const [key, v4, v6] of good) {
    it(`reads and writes ${key}`, () => {
      const subnets = {
        ipv4: v4 === undefined ? undefined : parsePrefix(v4),
        ipv6: v6 === undefined ? undefined : parsePrefix(v6),
      };
      assert.deepEqual(decodeLeaseKey(key), subnets);
      assert.equal(encodeLeaseKey(subnets), key);
    });
  }

  const bad = [
    "",
    "config",
    "10.5.52.0",
    "10.5.52.0/24",
    "10.5.52.0-33",
    "10.5.52.1-24",
    "10.5.256.0-24",
    "10.5.52.0-24&",
    "10.5.52.0-24&fc00::1-64",
    "10.5.52.0-24&fc00::-129",
    "10.5.52.0-24&fc00-64",
    "x/10.5.52.0-24",
    "10.5.52.0-24/x",
    "10x5.52.0-24",
  ];
  for (const key of bad) {
    it(`refuses ${JSON.stringify(key)}`, () => assert.ok(isProblem(decodeLeaseKey(key))));
  }

  it("comes back as it went", () => {
    fc.assert(
      fc.property(
        ipv4,
        fc.integer({ min: 1, max: 32 }),
        fc.option(ipv6),
        fc.integer({ min: 1, max: 96 }),
        (a, m, b, n) => {
          const subnets = { ipv4: prefixOf(a, m), ipv6: b === null ? undefined : prefixOf(b, n) };
          assert.deepEqual(decodeLeaseKey(encodeLeaseKey(subnets)), subnets);
        },
      ),
    );
  });

  it("never throws for any text", () => {
    fc.assert(fc.property(fc.string(), fc.string(), (key, value) => void decodeLease(key, value)));
  });
});

describe("lease value", () => {
  const vxlan: LeaseAttributes = {
    publicIp: parseIp("192.168.64.3"),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" },
    backendV6Data: undefined,
  };
  const plain = { publicIpv6: undefined, backendType: "", backendData: undefined, backendV6Data: undefined };
  const texts: readonly [name: string, text: string, attributes: LeaseAttributes][] = [
    [
      "vxlan",
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
      vxlan,
    ],
    [
      "vxlan with both families",
      '{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}',
      { ...vxlan, publicIpv6: parseIp("fd00::3"), backendV6Data: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:45" } },
    ],
    [
      "IPv6 alone",
      '{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3","BackendType":"host-gw"}',
      { ...plain, publicIp: undefined, publicIpv6: parseIp("fd00::3"), backendType: "host-gw" },
    ],
    ["udp", '{"PublicIP":"192.168.64.3","PublicIPv6":null}', { ...plain, publicIp: parseIp("192.168.64.3") }],
    [
      "extension, with the characters that Go escapes",
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"extension","BackendData":"a\\u003cb\\u003e\\u0026c"}',
      { ...plain, publicIp: parseIp("192.168.64.3"), backendType: "extension", backendData: "a<b>&c" },
    ],
  ];
  for (const [name, text, attributes] of texts) {
    it(`reads and writes, byte for byte as Go flannel: ${name}`, () => {
      assert.deepEqual(decodeLeaseValue(text), attributes);
      assert.equal(encodeLeaseValue(attributes), text);
    });
  }

  it("reads keys in any case and what older versions left out", () => {
    assert.deepEqual(decodeLeaseValue('{"publicip":"192.168.64.3","Extra":1}'), {
      ...plain,
      publicIp: parseIp("192.168.64.3"),
    });
  });

  const junk: readonly [value: string, problem: RegExp][] = [
    ["", /not JSON/],
    ["{", /not JSON/],
    ["[]", /not a JSON object/],
    ["null", /not a JSON object/],
    ["{}", /neither/],
    ['{"PublicIP":"0.0.0.0"}', /neither/],
    ['{"PublicIP":"host1"}', /PublicIP is not/],
    ['{"PublicIP":"fd00::1"}', /PublicIP is not/],
    ['{"PublicIP":{"a":1}}', /PublicIP is not/],
    ['{"PublicIP":"1.2.3.4","PublicIPv6":"1.2.3.4"}', /PublicIPv6 is not/],
    ['{"PublicIP":"1.2.3.4","BackendType":7}', /BackendType/],
    [`{"PublicIP":"1.2.3.4","BackendData":${"[".repeat(20_000)}${"]".repeat(20_000)}}`, /nested deeper/],
    [`{"PublicIP":"1.2.3.4","BackendData":"${"x".repeat(70_000)}"}`, /longer than/],
  ];
  for (const [value, problem] of junk) {
    it(`says what is wrong with ${value.slice(0, 60)}`, () => {
      const answer = decodeLeaseValue(value);
      assert.ok(
        isProblem(answer) && problem.test(answer.problem),
        JSON.stringify(answer, (_, v) => String(v)),
      );
    });
  }

  it("comes back as it went", () => {
    const data = fc.option(
      fc.jsonValue({ maxDepth: 3 }).filter((value) => value !== null),
      { nil: undefined },
    );
    fc.assert(
      fc.property(
        ipv4,
        fc.option(ipv6, { nil: undefined }),
        fc.string(),
        data,
        data,
        (publicIp, publicIpv6, backendType, backendData, backendV6Data) => {
          // JSON has no minus zero.
          const attributes = JSON.parse(JSON.stringify({ backendData, backendV6Data }));
          const expected = {
            publicIp,
            publicIpv6,
            backendType,
            backendData: undefined,
            backendV6Data: undefined,
            ...attributes,
          };
          assert.deepEqual(decodeLeaseValue(encodeLeaseValue(expected)), expected);
        },
      ),
    );
  });
});
