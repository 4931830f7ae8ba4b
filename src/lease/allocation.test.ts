import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { formatPrefix, overlaps, type Prefix, parsePrefix } from "../address/prefix.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import { CANDIDATES, createFreeSubnets, drawSubnet, isCompatible } from "./allocation.ts";

const ipv4Config = (config: object) => parseNetworkConfig(JSON.stringify(config)).ipv4!;
const prefix = (text: string): Prefix => parsePrefix(text)!;
const texts = (prefixes: readonly Prefix[]) => prefixes.map(formatPrefix);

const SMALL = ipv4Config({ Network: "10.5.0.0/24", SubnetLen: 28 }); // 15 subnets from .16

describe("free subnets", () => {
  it("are all from SubnetMin to SubnetMax when nothing is taken", () => {
    const config = ipv4Config({ Network: "10.5.0.0/16", SubnetMin: "10.5.3.0", SubnetMax: "10.5.5.0" });
    const free = createFreeSubnets(config, []);
    assert.deepEqual(texts(free.first(100)), ["10.5.3.0/24", "10.5.4.0/24", "10.5.5.0/24"]);
    assert.deepEqual(texts(free.first(2)), ["10.5.3.0/24", "10.5.4.0/24"]);
  });

  it("leave out what leases of any length cover", () => {
    const free = createFreeSubnets(
      SMALL,
      ["10.5.0.20/32", "10.5.0.64/26", "10.4.0.0/16", "10.5.0.144/28", "fc00::/8"].map(prefix),
    );
    assert.deepEqual(texts(free.first(3)), ["10.5.0.32/28", "10.5.0.48/28", "10.5.0.128/28"]);
    assert.equal(free.isFree(prefix("10.5.0.16/28")), false);
    assert.equal(free.isFree(prefix("10.5.0.32/28")), true);
    assert.equal(free.isFree(prefix("10.5.0.32/29")), false);
    assert.equal(free.isFree(prefix("10.5.0.0/28")), false);
  });

  it("are none when one lease covers the network", () => {
    const free = createFreeSubnets(SMALL, [prefix("0.0.0.0/0")]);
    assert.deepEqual(free.first(100), []);
    assert.equal(drawSubnet(free, Math.random), undefined);
  });

  it("work for IPv6 networks of any size", () => {
    const config = parseNetworkConfig(
      '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/8","IPv6SubnetLen":126}',
    ).ipv6!;
    const free = createFreeSubnets(config, [prefix("fc00::4/126"), prefix("fc00::/121")]);
    assert.deepEqual(texts(free.first(1)), ["fc00::80/126"]);
    const last = { family: 6, base: config.subnetMax.base, length: 126 } as const;
    free.take(last);
    assert.deepEqual(texts(free.first(1)), ["fc00::80/126"]);
  });

  it("are drawn from the first hundred", () => {
    const free = createFreeSubnets(ipv4Config({ Network: "10.5.0.0/16" }), [prefix("10.5.1.0/24")]);
    assert.equal(formatPrefix(drawSubnet(free, () => 0)!), "10.5.2.0/24");
    assert.equal(formatPrefix(drawSubnet(free, () => 0.999_999)!), `10.5.${1 + CANDIDATES}.0/24`);
    assert.equal(formatPrefix(drawSubnet(free, () => 0.999_999, 2)!), `10.5.${1 + 2 * CANDIDATES}.0/24`);
  });

  it("agree with looking at every lease for every subnet, also after taking more", () => {
    const lease = fc
      .record({ offset: fc.integer({ min: 0, max: 1023 }), length: fc.integer({ min: 22, max: 32 }) })
      .map(({ offset, length }) =>
        prefix(`10.${4 + (offset >> 9)}.${(offset >> 8) & 1}.${offset & 255}/${length}`),
      );
    const config = ipv4Config({ Network: "10.5.0.0/23", SubnetLen: 28 });
    const all = createFreeSubnets(config, []).first(1000);
    fc.assert(
      fc.property(fc.array(lease), fc.array(lease), (before, later) => {
        const free = createFreeSubnets(config, before);
        for (const each of later) free.take(each);
        const taken = [...before, ...later];
        const slow = all.filter((subnet) => !taken.some((each) => overlaps(each, subnet)));
        assert.deepEqual(free.first(1000), slow);
        for (const subnet of all) assert.equal(free.isFree(subnet), slow.includes(subnet));
      }),
    );
  });

  it("know which subnets fit the config", () => {
    assert.equal(isCompatible(SMALL, prefix("10.5.0.16/28")), true);
    assert.equal(isCompatible(SMALL, prefix("10.5.0.0/28")), false);
    assert.equal(isCompatible(SMALL, prefix("10.5.0.16/27")), false);
    assert.equal(isCompatible(SMALL, prefix("10.6.0.16/28")), false);
  });

  it("W37 the 5,000th of 60,000 subnets costs microseconds", () => {
    const config = ipv4Config({ Network: "10.0.0.0/8", SubnetMax: "10.234.96.0" });
    const free = createFreeSubnets(config, []);
    const timesUs: number[] = [];
    for (let count = 0; count < 5_100; count++) {
      const startMs = performance.now();
      free.take(drawSubnet(free, Math.random)!);
      timesUs.push((performance.now() - startMs) * 1000);
    }
    const median = (times: number[]) => times.toSorted((a, b) => a - b)[times.length >> 1]!;
    // A scan of all leases per candidate costs 500,000 comparisons here: tens of milliseconds.
    assert.ok(median(timesUs.slice(-100)) < 500, `${median(timesUs.slice(-100))} µs`);
  });
});
