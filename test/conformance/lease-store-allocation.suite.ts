/** What a {@link LeaseStore} does whose records flannel writes: allocation, renewal, loss and expiry of leases. */

import assert from "node:assert/strict";
import { describe } from "node:test";
import { formatIp } from "../../src/address/ip.ts";
import { formatPrefix } from "../../src/address/prefix.ts";
import { PeerFollower } from "../../src/agent/peers.ts";
import { hasCode } from "../../src/base/error.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { systemTimers } from "../../src/base/timers.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import { overlapsPair } from "../../src/lease/lease.ts";
import { encodeLeaseValue } from "../../src/lease/lease-codec.ts";
import { follow } from "../support/follow.ts";
import { until } from "../support/until.ts";
import {
  acquire,
  attributesOf,
  DUAL_NETWORK,
  IPV6_NETWORK,
  type LeaseStoreHarness,
  macOf,
  NETWORK,
  pair,
  SMALL_NETWORK,
  testOn,
  withIpv6,
} from "./lease-store-harness.ts";

/** What a store does of whose records flannel is the master: it gives out subnets, and lets leases expire. */
export function describeAllocation(name: string, start: () => Promise<LeaseStoreHarness>): void {
  const test = testOn(start);
  describe(`lease store, allocation: ${name}`, () => {
    test("misses no change of the config, however fast they follow each other", async (harness) => {
      await using store = await harness.open();
      const abort = new AbortController();
      const seen: (string | undefined)[] = [];
      const done = (async () => {
        for await (const text of store.watchNetworkConfig(abort.signal)) seen.push(text);
      })();
      await until(() => seen.length === 1, "the first config");
      for (const text of ["one", "two", "three"]) await harness.writeConfig(text);
      await until(() => seen.length === 4, "three changes");
      abort.abort();
      await done;
      assert.deepEqual(seen, [undefined, "one", "two", "three"]);
    });

    test("takes a subnet, publishes it and sees itself", async (harness) => {
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      assert.equal(lease.subnets.ipv4?.length, 24);
      const stored = await harness.read(lease.key);
      assert.equal(stored?.value, encodeLeaseValue(attributesOf(1)));
      assert.equal(stored?.expires, true);
      assert.ok(lease.expiresAtMs !== undefined && lease.expiresAtMs > Date.now() + 86_000_000);
      await using watch = follow(store);
      await until(() => watch.table.get(lease.key) !== undefined, "own lease");
      assert.deepEqual(watch.table.peers(lease.key), []);
      assert.equal(watch.updates[0]?.type, "snapshot");
    });

    test("W4 fifty hosts race for one network: everyone gets a subnet, no two the same", async (harness) => {
      const stores = await Promise.all(Array.from({ length: 50 }, () => harness.open()));
      try {
        const leases = await Promise.all(stores.map((store, index) => acquire(store, index + 1)));
        assert.equal(new Set(leases.map((lease) => lease.key)).size, 50);
      } finally {
        await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
      }
    });

    test("W4 hosts with two families race: no half of a pair is given twice", async (harness) => {
      // Eight subnets of IPv4, many of IPv6: the keys differ even where the IPv4 half is the same.
      const network = parseNetworkConfig(
        '{"Network":"10.5.0.0/24","SubnetLen":28,"EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
      );
      const stores = await Promise.all(Array.from({ length: 6 }, () => harness.open()));
      try {
        const leases = await Promise.all(
          stores.map((store, index) =>
            store.acquire({ network, attributes: withIpv6(index + 1), previous: undefined }),
          ),
        );
        for (const [index, lease] of leases.entries()) {
          for (const other of leases.slice(index + 1)) {
            assert.equal(overlapsPair(lease.subnets, other.subnets), false, `${lease.key} and ${other.key}`);
          }
        }
      } finally {
        await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
      }
    });

    test("says that the network is full, and takes what becomes free", async (harness) => {
      await using store = await harness.open();
      const leases = [];
      for (const host of [1, 2, 3]) leases.push(await acquire(store, host, SMALL_NETWORK));
      await assert.rejects(
        acquire(store, 4, SMALL_NETWORK),
        (error) => hasCode(error, "OUT_OF_SUBNETS") && /10\.5\.0\.64 to 10\.5\.0\.192/.test(String(error)),
      );
      await harness.remove(leases[1]!.key);
      assert.equal((await acquire(store, 4, SMALL_NETWORK)).key, leases[1]!.key);
    });

    test("finds its lease again by public address and refreshes what it says", async (harness) => {
      await using before = await harness.open();
      const lease = await acquire(before, 1);
      await using after = await harness.open();
      const attributes = attributesOf(1, "02:00:00:00:00:ff");
      const again = await after.acquire({ network: NETWORK, attributes, previous: undefined });
      assert.equal(again.key, lease.key);
      const stored = await harness.read(lease.key);
      assert.equal(stored?.value, encodeLeaseValue(attributes));
      assert.equal(stored?.expires, true);
    });

    test("takes the previous subnet if it is free, another if not", async (harness) => {
      await using store = await harness.open();
      const previous = pair("10.5.77.0/24");
      assert.equal((await acquire(store, 1, NETWORK, previous)).key, "10.5.77.0-24");
      assert.notEqual((await acquire(store, 2, NETWORK, previous)).key, "10.5.77.0-24");
      assert.notEqual((await acquire(store, 3, NETWORK, pair("10.6.1.0/24"))).key, "10.6.1.0-24");
    });

    test("gives up a lease that does not fit the config any more", async (harness) => {
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      const halved = parseNetworkConfig(
        '{"Network":"10.5.0.0/16","SubnetLen":25,"Backend":{"Type":"vxlan"}}',
      );
      const again = await acquire(store, 1, halved, lease.subnets);
      assert.equal(again.subnets.ipv4?.length, 25);
      assert.equal(await harness.read(lease.key), undefined);
    });

    test("avoids subnets that leases of other lengths or with invalid values cover", async (harness) => {
      await harness.write("10.5.0.64-28", encodeLeaseValue(attributesOf(8)));
      await harness.write("10.5.0.128-26", "junk");
      await using store = await harness.open();
      assert.equal((await acquire(store, 1, SMALL_NETWORK)).key, "10.5.0.192-26");
    });

    test("keeps the IPv4 subnet when IPv6 is turned on", async (harness) => {
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      const dual = await store.acquire({
        network: DUAL_NETWORK,
        attributes: withIpv6(1),
        previous: lease.subnets,
      });
      assert.equal(formatPrefix(dual.subnets.ipv4!), formatPrefix(lease.subnets.ipv4!));
      assert.equal(dual.subnets.ipv6?.length, 64);
      assert.equal(await harness.read(lease.key), undefined);
    });

    test("W7 a reservation is found by its public address and stays without a TTL", async (harness) => {
      await harness.write("10.5.34.0-24", '{"PublicIP":"192.168.0.1"}');
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      assert.equal(lease.key, "10.5.34.0-24");
      assert.equal(lease.expiresAtMs, undefined);
      assert.deepEqual(await harness.read(lease.key), {
        value: encodeLeaseValue(attributesOf(1)),
        expires: false,
      });
      const renewed = await store.renew(lease, attributesOf(1, "02:00:00:00:00:ff"));
      assert.equal(renewed.expiresAtMs, undefined);
      assert.equal((await harness.read(lease.key))?.expires, false);
      assert.notEqual((await acquire(store, 2)).key, lease.key);
    });

    test("W9 hosts with IPv6 alone each get their own subnet and find it again", async (harness) => {
      await using store = await harness.open();
      const take = (host: number) =>
        store.acquire({ network: IPV6_NETWORK, attributes: withIpv6(host, false), previous: undefined });
      const [one, two] = [await take(1), await take(2)];
      assert.notEqual(one.key, two.key);
      assert.match(one.key, /^0\.0\.0\.0-0&fc00:[\da-f:]+-64$/);
      assert.equal((await take(1)).key, one.key);
      assert.equal((await take(2)).key, two.key);
      await using watch = follow(store);
      await until(() => watch.table.size === 2, "both leases");
      const peer = watch.table.peers(one.key)[0];
      assert.equal(peer?.subnets.ipv4, undefined);
      assert.equal(peer?.attributes.publicIp, undefined);
      assert.equal(formatIp(peer!.attributes.publicIpv6!), "fd00::2");
    });

    test("renews, publishing what is new", async (harness) => {
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      const renewed = await store.renew(lease, attributesOf(1, "02:00:00:00:00:ff"));
      assert.equal(renewed.key, lease.key);
      assert.ok(renewed.expiresAtMs! >= lease.expiresAtMs!);
      assert.equal((await harness.read(lease.key))?.value, encodeLeaseValue(renewed.attributes));
      assert.equal((await harness.read(lease.key))?.expires, true);
    });

    test("renewing what has not changed disturbs no peer", async (harness) => {
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      await using watch = follow(store);
      await until(() => watch.table.size === 1, "own lease");
      const before = watch.updates.length;
      await store.renew(lease, lease.attributes);
      await using restarted = await harness.open();
      await acquire(restarted, 1);
      await harness.write("10.5.200.0-24", encodeLeaseValue(attributesOf(2)));
      await until(() => watch.table.size === 2, "the peer");
      assert.equal(watch.updates.length, before + 1);
    });

    test("F1 F2 each lease has its age, which an update keeps, and whether a host renews it", async (harness) => {
      await using store = await harness.open();
      await harness.write("10.5.200.0-24", encodeLeaseValue(attributesOf(2)));
      const own = await acquire(store, 1);
      await using watch = follow(store);
      await until(() => watch.table.size === 2, "both leases");
      const [first, second] = [watch.table.get("10.5.200.0-24")!, watch.table.get(own.key)!];
      assert.ok(first.establishedAt! < second.establishedAt!);
      assert.equal(first.renewedAt, undefined, "a reservation");
      assert.ok(second.renewedAt! >= second.establishedAt!);
      await store.renew(own, attributesOf(1, "02:00:00:00:00:ff"));
      await until(() => macOf(watch.table.get(own.key)) === "02:00:00:00:00:ff", "the renewal");
      assert.equal(watch.table.get(own.key)!.establishedAt, second.establishedAt);
      assert.ok(watch.table.get(own.key)!.renewedAt! > second.renewedAt!);
      await using another = await harness.open();
      await using later = follow(another);
      await until(() => later.table.size === 2, "both leases in a new watch");
      assert.deepEqual(later.table.get(own.key), watch.table.get(own.key));
    });

    test("W6 never renews over another host's head", async (harness) => {
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      const theirs = encodeLeaseValue(attributesOf(2));
      await harness.write(lease.key, theirs);
      await assert.rejects(store.renew(lease, lease.attributes), (error) => hasCode(error, "LEASE_LOST"));
      assert.equal((await harness.read(lease.key))?.value, theirs);
      assert.notEqual((await acquire(store, 1, NETWORK, lease.subnets)).key, lease.key);
    });

    test("W8 a revoked lease is noticed, and the same subnet taken again", async (harness) => {
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      await using watch = follow(store);
      await until(() => watch.table.size === 1, "own lease");
      await harness.revoke(lease.key);
      await until(() => watch.table.size === 0, "own lease to go");
      await assert.rejects(store.renew(lease, lease.attributes), (error) => hasCode(error, "LEASE_LOST"));
      assert.equal((await acquire(store, 1, NETWORK, lease.subnets)).key, lease.key);
      await until(() => watch.table.size === 1, "own lease again");
    });

    test("F25 a lease that is revoked and acquired again at once costs no peer its routes", async (harness) => {
      await using store = await harness.open();
      await using theirs = await harness.open();
      const lease = await acquire(theirs, 1);
      const missing: string[] = [];
      let changes = 0;
      const ports = { store, logger: silentLogger, timers: systemTimers };
      const host = { own: undefined, observe() {} };
      const follower = new PeerFollower(ports, host, () => {
        changes++;
        if (!follower.peers().some(({ key }) => key === lease.key)) missing.push(lease.key);
      });
      const abort = new AbortController();
      const running = follower.run(abort.signal);
      await until(() => follower.peers().length === 1, "the peer");
      await harness.revoke(lease.key);
      await until(() => follower.table.size === 0, "the revocation");
      const before = changes;
      assert.equal((await acquire(theirs, 1, NETWORK, lease.subnets)).key, lease.key);
      await until(() => follower.table.size === 1 && changes > before, "the lease again");
      assert.deepEqual(missing, []);
      await harness.revoke(lease.key);
      await until(() => missing.length > 0 && follower.peers().length === 0, "the peer to leave for good");
      abort.abort();
      await running;
    });

    test("a lease that is not renewed expires, one that is does not", async (harness) => {
      await using store = await harness.open({ ttlSeconds: 1 });
      await using idle = await harness.open({ ttlSeconds: 1 });
      let kept = await acquire(store, 1);
      const left = await acquire(idle, 2);
      await using watch = follow(store);
      await until(() => watch.table.size === 2, "both leases");
      await until(async () => {
        kept = await store.renew(kept, kept.attributes);
        return watch.table.get(left.key) === undefined;
      }, "the idle lease to expire");
      assert.notEqual(watch.table.get(kept.key), undefined);
    });
  });
}
