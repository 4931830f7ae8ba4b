/**
 * What every {@link LeaseStore} does, run on each implementation through a {@link LeaseStoreHarness}.
 *
 * Hosts are made of a number: host 7 has the public address 192.168.0.7.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatIp, parseIp } from "../../src/address/ip.ts";
import { formatPrefix, parsePrefix } from "../../src/address/prefix.ts";
import { PeerFollower } from "../../src/agent/peers.ts";
import { hasCode } from "../../src/base/error.ts";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { systemTimers } from "../../src/base/timers.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../src/config/network-config.ts";
import { type Lease, type LeaseAttributes, overlapsPair, type SubnetPair } from "../../src/lease/lease.ts";
import { encodeLeaseValue } from "../../src/lease/lease-codec.ts";
import type { LeaseStore, LeaseUpdate } from "../../src/lease/lease-store.ts";
import { createLeaseTable } from "../../src/lease/lease-table.ts";
import { until } from "../support/until.ts";

interface StoreOptions {
  readonly logger?: Logger;
  readonly ttlSeconds?: number;
}

export interface LeaseStoreHarness extends AsyncDisposable {
  /** Opens the store as one more host does. */
  open(options?: StoreOptions): LeaseStore | Promise<LeaseStore>;
  /** Writes the network config. */
  writeConfig(text: string): Promise<void>;
  /** Writes a key under `subnets/` without a TTL, as an operator does. */
  write(key: string, value: string): Promise<void>;
  remove(key: string): Promise<void>;
  /** A key's value, and whether it will expire. */
  read(key: string): Promise<{ readonly value: string; readonly expires: boolean } | undefined>;
  /** Ends the life of a key before its time. */
  revoke(key: string): Promise<void>;
  /** Runs `meanwhile` while no watch sees anything and so that no watch can catch up with single changes. */
  gap(meanwhile: () => Promise<void>): Promise<void>;
}

const NETWORK = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
/** Subnets 10.5.0.64, .128 and .192. */
const SMALL_NETWORK = parseNetworkConfig('{"Network":"10.5.0.0/24","Backend":{"Type":"vxlan"}}');
const IPV6_NETWORK = parseNetworkConfig(
  '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
);
const DUAL_NETWORK = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
);

const attributesOf = (
  host: number,
  mac = `02:00:00:00:00:${host.toString(16).padStart(2, "0")}`,
): LeaseAttributes => ({
  publicIp: parseIp(`192.168.0.${host}`),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: mac },
  backendV6Data: undefined,
});

const withIpv6 = (host: number, hasIpv4 = true): LeaseAttributes => ({
  ...attributesOf(host),
  ...(!hasIpv4 && { publicIp: undefined }),
  publicIpv6: parseIp(`fd00::${host}`),
  backendV6Data: { VNI: 1, VtepMAC: "02:00:00:00:06:01" },
});

const acquire = (store: LeaseStore, host: number, network: NetworkConfig = NETWORK, previous?: SubnetPair) =>
  store.acquire({ network, attributes: attributesOf(host), previous });

const pair = (ipv4: string): SubnetPair => ({ ipv4: parsePrefix(ipv4), ipv6: undefined });

/** A watch that is followed in the background. */
function follow(store: LeaseStore) {
  const abort = new AbortController();
  const updates: LeaseUpdate[] = [];
  const table = createLeaseTable();
  const done = (async () => {
    for await (const update of store.watchLeases(abort.signal)) {
      updates.push(update);
      table.apply(update);
    }
  })();
  return {
    updates,
    table,
    async [Symbol.asyncDispose]() {
      abort.abort();
      await done;
    },
  };
}

const macOf = (lease: Lease | undefined) =>
  (lease?.attributes.backendData as { VtepMAC?: string } | undefined)?.VtepMAC;

/** Runs the whole suite; `start` makes a fresh, empty datastore for each test. */
export function describeLeaseStore(name: string, start: () => Promise<LeaseStoreHarness>): void {
  describeWatching(name, start);
  describeAllocation(name, start);
}

type TestOn = (title: string, run: (harness: LeaseStoreHarness) => Promise<void>) => void;

const testOn =
  (start: () => Promise<LeaseStoreHarness>): TestOn =>
  (title, run) =>
    it(title, async () => {
      await using harness = await start();
      await run(harness);
    });

/** What every store does: it shows the config and the leases there are. */
export function describeWatching(name: string, start: () => Promise<LeaseStoreHarness>): void {
  const test = testOn(start);
  describe(`lease store: ${name}`, () => {
    test("reads the config, or says that there is none", async (harness) => {
      await using store = await harness.open();
      await assert.rejects(store.readNetworkConfig(), (error) => hasCode(error, "NOT_FOUND"));
      await harness.writeConfig('{"Network":"10.5.0.0/16"}');
      assert.equal(await store.readNetworkConfig(), '{"Network":"10.5.0.0/16"}');
    });

    test("reports changes of the config", async (harness) => {
      await using store = await harness.open();
      const abort = new AbortController();
      const seen: (string | undefined)[] = [];
      const done = (async () => {
        for await (const text of store.watchNetworkConfig(abort.signal)) seen.push(text);
      })();
      await until(() => seen.length === 1, "the first config");
      await harness.writeConfig("one");
      await until(() => seen.length === 2, "a first change");
      await harness.writeConfig("two");
      await until(() => seen.length === 3, "a second change");
      abort.abort();
      await done;
      assert.deepEqual(seen, [undefined, "one", "two"]);
    });

    test("reports changes in the order in which they occur", async (harness) => {
      await using store = await harness.open();
      await using watch = follow(store);
      await until(() => watch.updates.length === 1, "the snapshot");
      await harness.write("10.5.1.0-24", encodeLeaseValue(attributesOf(1)));
      await harness.write("10.5.2.0-24", encodeLeaseValue(attributesOf(2)));
      await harness.write("10.5.1.0-24", encodeLeaseValue(attributesOf(1, "02:00:00:00:00:ff")));
      await harness.remove("10.5.2.0-24");
      await harness.write("10.5.3.0-24", encodeLeaseValue(attributesOf(3)));
      await until(() => watch.updates.length === 6, "five changes");
      assert.deepEqual(
        watch.updates.map((update) =>
          update.type === "snapshot"
            ? "snapshot"
            : `${update.type} ${update.type === "put" ? update.lease.key : update.key}`,
        ),
        [
          "snapshot",
          "put 10.5.1.0-24",
          "put 10.5.2.0-24",
          "put 10.5.1.0-24",
          "delete 10.5.2.0-24",
          "put 10.5.3.0-24",
        ],
      );
    });

    test("two watches of one store both see everything", async (harness) => {
      await using store = await harness.open();
      await acquire(store, 9);
      await using one = follow(store);
      await using two = follow(store);
      await harness.write("10.5.200.0-24", encodeLeaseValue(attributesOf(1)));
      await until(() => one.table.size === 2 && two.table.size === 2, "both leases in both");
    });

    test("W2 W3 after a gap: own lease still there, changed peers changed, vanished ones gone", async (harness) => {
      await harness.write("10.5.201.0-24", encodeLeaseValue(attributesOf(1)));
      await harness.write("10.5.202.0-24", encodeLeaseValue(attributesOf(2)));
      await harness.write("10.5.203.0-24", encodeLeaseValue(attributesOf(3)));
      await using store = await harness.open();
      const own = await acquire(store, 9);
      await using watch = follow(store);
      await until(() => watch.table.size === 4, "four leases");
      const unchanged = watch.table.get("10.5.201.0-24");
      await harness.gap(async () => {
        await harness.write("10.5.202.0-24", encodeLeaseValue(attributesOf(22, "02:00:00:00:00:ff")));
        await harness.remove("10.5.203.0-24");
        await harness.write("10.5.204.0-24", encodeLeaseValue(attributesOf(4)));
      });
      await until(() => watch.table.get("10.5.204.0-24") !== undefined, "the new peer");
      assert.equal(watch.updates.at(-1)?.type, "snapshot");
      assert.notEqual(watch.table.get(own.key), undefined);
      assert.equal(watch.table.get("10.5.203.0-24"), undefined);
      assert.equal(macOf(watch.table.get("10.5.202.0-24")), "02:00:00:00:00:ff");
      assert.equal(formatIp(watch.table.get("10.5.202.0-24")!.attributes.publicIp!), "192.168.0.22");
      assert.equal(watch.table.get("10.5.201.0-24"), unchanged);
      await harness.write("10.5.205.0-24", encodeLeaseValue(attributesOf(5)));
      await until(() => watch.table.get("10.5.205.0-24") !== undefined, "a change after the gap");
    });

    test("W1 invalid keys and values are skipped and reported once; all others stay", async (harness) => {
      const warnings: string[] = [];
      const logger: Logger = { ...silentLogger, warn: (message) => warnings.push(message) };
      const junk: readonly [key: string, value: string][] = [
        ["nonsense", "{}"],
        ["10.5.999.0-24", encodeLeaseValue(attributesOf(1))],
        ["10.5.9.0-24", "not JSON"],
        ["10.5.10.0-24", '{"PublicIP":7}'],
        ["10.5.11.0-24", "[".repeat(50_000)],
        ["10.5.12.0-24", `{"PublicIP":"192.168.0.12","BackendData":"${"x".repeat(100_000)}"}`],
        ["10.5.13.0-24", "null"],
      ];
      for (const [key, value] of junk.slice(0, 3)) await harness.write(key, value);
      await harness.write("10.5.1.0-24", encodeLeaseValue(attributesOf(1)));
      await using store = await harness.open({ logger });
      await using watch = follow(store);
      await until(() => watch.table.size === 1, "the good lease");
      for (const [key, value] of junk.slice(3)) await harness.write(key, value);
      await harness.write("10.5.2.0-24", encodeLeaseValue(attributesOf(2)));
      await until(() => watch.table.size === 2, "a second good lease");
      await harness.gap(() => harness.write("10.5.3.0-24", encodeLeaseValue(attributesOf(3))));
      await until(() => watch.table.size === 3, "a third good lease");
      const skipped = warnings.filter((warning) => warning.startsWith("Skipped"));
      assert.equal(skipped.length, junk.length, skipped.join("\n"));
      assert.deepEqual(
        watch.table
          .peers(undefined)
          .map((lease) => lease.key)
          .sort(),
        ["10.5.1.0-24", "10.5.2.0-24", "10.5.3.0-24"],
      );
      await acquire(store, 9);
    });

    test("W1 a peer whose value becomes invalid keeps its last valid one", async (harness) => {
      await harness.write("10.5.1.0-24", encodeLeaseValue(attributesOf(1)));
      await using store = await harness.open();
      await using watch = follow(store);
      await until(() => watch.table.size === 1, "the peer");
      await harness.write("10.5.1.0-24", "junk");
      await harness.gap(() => harness.write("10.5.2.0-24", encodeLeaseValue(attributesOf(2))));
      await until(() => watch.table.get("10.5.2.0-24") !== undefined, "a change after the invalid value");
      assert.equal(macOf(watch.table.get("10.5.1.0-24")), "02:00:00:00:00:01");
      await harness.remove("10.5.1.0-24");
      await until(() => watch.table.size === 1, "the peer to go");
    });

    test("repairs its own record after a foreign invalid write", async (harness) => {
      await using store = await harness.open();
      const lease = await acquire(store, 1);
      await harness.write(lease.key, "junk");
      await store.renew(lease, lease.attributes);
      assert.equal((await harness.read(lease.key))?.value, encodeLeaseValue(lease.attributes));
    });

    test("ends its watches when it is disposed", async (harness) => {
      const store = await harness.open();
      await using watch = follow(store);
      await until(() => watch.updates.length === 1, "the snapshot");
      await store[Symbol.asyncDispose]();
    });
  });
}

/** What a store does of whose records flannel is the master: it gives out subnets, and lets leases expire. */
function describeAllocation(name: string, start: () => Promise<LeaseStoreHarness>): void {
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
