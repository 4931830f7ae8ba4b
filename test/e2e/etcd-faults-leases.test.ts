/** Leases when a datastore comes back with other leases than before an outage, on each of the stores. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import type { Logger } from "../../src/base/logger.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import { encodeLeaseValue } from "../../src/lease/lease-codec.ts";
import { type FaultBed, STORES } from "../support/fault-bed.ts";
import { attributesOf, type LeaseHost, NETWORK_TEXT, startLeaseHost } from "../support/lease-host.ts";
import { until } from "../support/until.ts";

const TIMINGS = { retryMinMs: 20, retryMaxMs: 200 };
const IPV6 = '"EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}';
const NETWORKS = {
  "IPv6 alone": parseNetworkConfig(`{"EnableIPv4":false,${IPV6}`),
  "both families": parseNetworkConfig(`{"Network":"10.5.0.0/16",${IPV6}`),
};

const outageNoticed = (host: LeaseHost) =>
  until(() => host.log.some((line) => /Watch on the leases .*lost/.test(line)), "the outage to be noticed");

for (const [store, start] of Object.entries(STORES)) {
  describe(`leases after an outage of ${store}`, () => {
    const test = (
      title: string,
      run: (bed: FaultBed, open: (logger: Logger) => ReturnType<FaultBed["open"]>) => Promise<void>,
    ) =>
      it(title, async () => {
        await using bed = await start();
        await bed.put("config", NETWORK_TEXT);
        await run(bed, (logger) => bed.open(logger, { timings: TIMINGS }));
      });

    test("W6 W8 a subnet that another host acquired meanwhile stays its own; a new one is acquired", async (bed, open) => {
      await using host = await startLeaseHost(1, open);
      const { key } = host.keeper.own!;
      await bed.line.cut();
      await outageNoticed(host);
      await bed.put(`subnets/${key}`, encodeLeaseValue(attributesOf(2)));
      await bed.line.restore();
      await until(() => host.keys.length === 2 && host.keeper.problem === undefined, "another subnet");
      assert.notEqual(host.keeper.own!.key, key);
      await until(() => host.table.size === 2, "both leases");
      assert.deepEqual(host.table.get(key)?.attributes.publicIp, attributesOf(2).publicIp);
      assert.ok(host.log.some((line) => /Lost lease .*: it is now held by 192\.168\.0\.2/.test(line)));
    });

    test("W7 a reservation stays a reservation", async (bed, open) => {
      await bed.put("subnets/10.5.34.0-24", encodeLeaseValue(attributesOf(1)));
      await using host = await startLeaseHost(1, open);
      assert.equal(host.keeper.own!.expiresAtMs, undefined);
      await bed.kill();
      await outageNoticed(host);
      await bed.start();
      await until(
        () => host.log.some((line) => /Watch on the leases .*restored/.test(line)),
        "the end of the outage",
      );
      const renewed = await host.store.renew(host.keeper.own!, host.attributes);
      assert.equal(renewed.expiresAtMs, undefined);
      assert.deepEqual(host.keys, ["10.5.34.0-24"]);
    });

    for (const [families, network] of Object.entries(NETWORKS)) {
      test(`W9 hosts with ${families} restore their leases in a store that lost them`, async (bed, open) => {
        const attributes = [1, 2].map((number) => ({
          ...attributesOf(number),
          ...(network.ipv4 === undefined && { publicIp: undefined }),
          publicIpv6: parseIp(`fd00::${number}`),
        }));
        await using one = await startLeaseHost(1, open, { network, attributes: attributes[0]! });
        await using two = await startLeaseHost(2, open, { network, attributes: attributes[1]! });
        const hosts = [one, two];
        const keys = hosts.map((host) => host.keeper.own!.key);
        await until(() => hosts.every((host) => host.table.size === 2), "both to know each other");
        for (const host of hosts) host.expectPeers(keys);
        await bed.kill();
        await Promise.all(hosts.map(outageNoticed));
        await bed.startEmpty();
        const isBack = (host: LeaseHost) =>
          host.keeper.problem === undefined && host.log.some((line) => /Lost lease/.test(line));
        await until(() => hosts.every(isBack), "new leases");
        await until(() => hosts.every((host) => host.table.size === 2), "both to know each other again");
        assert.deepEqual(
          hosts.map((host) => host.keys),
          keys.map((key) => [key]),
        );
        for (const host of hosts) {
          const others = keys.filter((key) => key !== host.keeper.own!.key);
          assert.deepEqual(
            others.filter((key) => host.missedPeers.has(key)),
            [],
            "no peer was away",
          );
        }
      });
    }
  });
}
