/** What depends on the key-value store's answers; test/conformance runs the whole store on each real one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../../address/ip.ts";
import { silentLogger } from "../../base/logger.ts";
import { parseNetworkConfig } from "../../config/network-config.ts";
import { encodeLeaseValue } from "../lease-codec.ts";
import { createKeyLeaseStore } from "./key-lease-store.ts";
import type { KeyRecord, KeyUpdate, KeyValueStore, WrittenKey } from "./key-value-store.ts";

const SUBNETS = "/net/subnets/";
const DAY_MS = 86_400_000;
/** One subnet only: 10.5.1.0/24. */
const network = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.1.0","Backend":{"Type":"vxlan"}}',
);
const attributesOf = (host: number) => ({
  publicIp: parseIp(`192.168.0.${host}`),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: undefined,
  backendV6Data: undefined,
});
const request = { network, attributes: attributesOf(1), previous: undefined };

/** Everything that waits only for its turn of the event loop has run. */
const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

interface Options {
  readonly createsAtomically?: boolean;
  /** Runs once, just before the first key is created: another host is faster. */
  readonly beforeCreate?: () => void;
}

/** A key-value store in memory, whose position is its revision. */
function start({ createsAtomically = true, beforeCreate }: Options = {}) {
  const keys = new Map<string, KeyRecord>();
  const grants = new Set<string>();
  let revision = 0n;
  let granted = 0;
  let runFirst = beforeCreate;
  const put = (key: string, value: string, lifeId: string | undefined): WrittenKey => {
    revision++;
    const record = { key, value, createdAt: keys.get(key)?.createdAt ?? revision, revision, lifeId };
    keys.set(key, record);
    return { record, expiresAtMs: lifeId === undefined ? undefined : DAY_MS };
  };
  const below = (path: string) => [...keys.values()].filter(({ key }) => key.startsWith(path));
  const isUnchanged = (version: Pick<KeyRecord, "key" | "revision">) =>
    keys.get(version.key)?.revision === version.revision;
  let report: ((update: KeyUpdate) => void) | undefined;
  const watched = (async function* (): AsyncGenerator<KeyUpdate, undefined> {
    for (;;) {
      const update = await new Promise<KeyUpdate>((resolve) => {
        report = resolve;
      });
      yield update;
    }
  })();
  const keyStore: KeyValueStore<bigint> = {
    name: "memory",
    putCommand: "put",
    prefix: "/net",
    lostDataGraceMs: 0,
    createsAtomically,
    requestCount: 0,
    list: async (path) => ({ records: below(path), position: revision }),
    read: async (key) => keys.get(key),
    async grant() {
      const lifeId = `life${++granted}`;
      grants.add(lifeId);
      return { lifeId, expiresAtMs: DAY_MS };
    },
    revoke: async ({ lifeId }) => void grants.delete(lifeId!),
    async create(key, value, life, since = 0n) {
      runFirst?.();
      runFirst = undefined;
      if (keys.has(key)) return undefined;
      const written = put(key, value, life.lifeId);
      const rivals = below(SUBNETS).filter((each) => each.createdAt > since && each.key !== key);
      return { ...written, rivals: rivals.map((rival) => rival.key) };
    },
    write: async () => false,
    extend: async (record, value) =>
      isUnchanged(record) ? put(record.key, value, record.lifeId) : undefined,
    remove: async (version) => isUnchanged(version) && keys.delete(version.key),
    keepForever: async () => false,
    readExpiries: async () => new Map(),
    watch: () => watched,
    [Symbol.dispose]() {},
  };
  const open = () => createKeyLeaseStore(keyStore, { logger: silentLogger, random: () => 0 });
  const putLease = (key: string, host: number, lifeId?: string) =>
    put(SUBNETS + key, encodeLeaseValue(attributesOf(host)), lifeId);
  return {
    report: (update: KeyUpdate) => report?.(update),
    keys,
    grants,
    put,
    putLease,
    open,
    lifeOf: (key: string) => keys.get(SUBNETS + key)?.lifeId,
  };
}

test("a malformed value is overwritten with the life of the lease, whatever store renews it", async () => {
  const bed = start();
  await using store = bed.open();
  const lease = await store.acquire(request);
  assert.equal(bed.lifeOf(lease.key), "life1");
  bed.put(SUBNETS + lease.key, "junk", undefined);
  await store.renew(lease, lease.attributes);
  assert.equal(bed.lifeOf(lease.key), "life1", "the store that holds it");
  bed.put(SUBNETS + lease.key, "junk", undefined);
  await using another = bed.open();
  assert.equal((await another.renew(lease, lease.attributes)).expiresAtMs, DAY_MS);
  assert.equal(bed.lifeOf(lease.key), "life2", "a store that has not written it");
  bed.put(SUBNETS + lease.key, "junk", undefined);
  await using third = bed.open();
  await third.renew({ ...lease, expiresAtMs: undefined }, lease.attributes);
  assert.equal(bed.lifeOf(lease.key), undefined, "a reservation");
});

for (const type of ["put", "snapshot"] as const) {
  test(`F25 a malformed value under the own key is overwritten at once (${type})`, async () => {
    const bed = start();
    await using store = bed.open();
    const lease = await store.acquire(request);
    const key = SUBNETS + lease.key;
    const stop = new AbortController();
    const following = (async () => {
      for await (const _ of store.watchLeases(stop.signal));
    })();
    await settled();
    const { record } = bed.put(key, "junk", undefined);
    bed.report(
      type === "put" ? { type, record } : { type, records: [...bed.keys.values()], isAnotherStore: false },
    );
    await settled();
    assert.equal(bed.keys.get(key)?.value, encodeLeaseValue(lease.attributes));
    assert.equal(bed.lifeOf(lease.key), "life1");
    stop.abort();
    void following;
  });
}

test("W4 a lost race costs no second grant, and a failed acquisition gives its grant back", async () => {
  const bed = start({ beforeCreate: () => bed.putLease("10.5.1.0-24", 2) });
  await using store = bed.open();
  await assert.rejects(store.acquire(request), { code: "OUT_OF_SUBNETS" });
  assert.deepEqual([...bed.grants], []);

  const other = start({ beforeCreate: () => void other.putLease("10.5.1.128-25", 2) });
  await using racing = other.open();
  await assert.rejects(racing.acquire(request), { code: "OUT_OF_SUBNETS" }, "the rival overlaps");
  assert.deepEqual([...other.keys.keys()], [`${SUBNETS}10.5.1.128-25`]);

  const free = start({
    beforeCreate: () => {
      const { record } = free.putLease("10.5.1.0-24", 2);
      queueMicrotask(() => free.keys.delete(record.key)); // and gone again
    },
  });
  await using second = free.open();
  await second.acquire(request);
  assert.deepEqual([...free.grants], ["life1"]);
});

test("W4 an own lease that an older one overlaps is given up where creation is not atomic", async () => {
  for (const createsAtomically of [false, true]) {
    const bed = start({ createsAtomically });
    bed.putLease("10.5.1.128-25", 2);
    bed.putLease("10.5.1.0-24", 1, "life");
    await using store = bed.open();
    if (createsAtomically) assert.equal((await store.acquire(request)).key, "10.5.1.0-24");
    else await assert.rejects(store.acquire(request), { code: "OUT_OF_SUBNETS" });
    assert.equal(bed.keys.has(`${SUBNETS}10.5.1.0-24`), createsAtomically);
  }
});

test("W4 a reservation is not given up for an older lease", async () => {
  const bed = start({ createsAtomically: false });
  bed.putLease("10.5.1.128-25", 2);
  bed.putLease("10.5.1.0-24", 1);
  await using store = bed.open();
  assert.equal((await store.acquire(request)).key, "10.5.1.0-24");
});
