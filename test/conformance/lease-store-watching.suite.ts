/** What every {@link LeaseStore} shows: the config and the leases there are, and each change. */

import assert from "node:assert/strict";
import { describe } from "node:test";
import { formatIp } from "../../src/address/ip.ts";
import { hasCode } from "../../src/base/error.ts";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { encodeLeaseValue } from "../../src/lease/lease-codec.ts";
import { follow } from "../support/follow.ts";
import { until } from "../support/until.ts";
import { acquire, attributesOf, type LeaseStoreHarness, macOf, testOn } from "./lease-store-harness.ts";

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
