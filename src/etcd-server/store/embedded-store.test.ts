import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { hasCode } from "../../base/error.ts";
import { silentLogger } from "../../base/logger.ts";
import type { Timers } from "../../base/timers.ts";
import { DeleteRangeRequestSchema, PutRequestSchema, RangeRequestSchema } from "../../etcd-api/rpc_pb.ts";
import { EmbeddedStore } from "./embedded-store.ts";
import type { Interest, News } from "./watches.ts";

/** A clock that a test moves, and wall-clock time that can differ from it. */
class TestClock implements Timers {
  ms = 1_000;
  wallMs = 1_700_000_000_000;
  #pending: { readonly atMs: number; readonly callback: () => void }[] = [];
  nowMs = () => this.ms;
  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.ms + delayMs, callback };
    this.#pending.push(timer);
    return () => {
      this.#pending = this.#pending.filter((each) => each !== timer);
    };
  }
  /** Moves both clocks on, calling what is due in its order. */
  pass(ms: number): void {
    const endMs = this.ms + ms;
    for (;;) {
      const due = this.#pending.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#pending = this.#pending.filter((each) => each !== due);
      this.#moveTo(Math.max(this.ms, due.atMs));
      due.callback();
    }
    this.#moveTo(endMs);
  }
  #moveTo(ms: number): void {
    this.wallMs += ms - this.ms;
    this.ms = ms;
  }
}

function makeBed() {
  const dataDirectory = mkdtempSync(join(tmpdir(), `flannel-store-${process.pid}-`));
  const clock = new TestClock();
  return {
    clock,
    dataDirectory,
    open: (): EmbeddedStore =>
      EmbeddedStore.open({
        dataDirectory,
        logger: silentLogger,
        timers: clock,
        wallClockMs: () => clock.wallMs,
      }),
    /** Looks into the database of a closed store. */
    rows: (sql: string): unknown[] => {
      const database = new DatabaseSync(join(dataDirectory, "store.db"), { readOnly: true });
      try {
        return database.prepare(sql).all();
      } finally {
        database.close();
      }
    },
    [Symbol.dispose]: () => rmSync(dataDirectory, { recursive: true, force: true }),
  };
}

const put = (store: EmbeddedStore, key: string, value: string, lease = 0n) =>
  store.put(create(PutRequestSchema, { key: Buffer.from(key), value: Buffer.from(value), lease }));
const remove = (store: EmbeddedStore, key: string) =>
  store.deleteRange(create(DeleteRangeRequestSchema, { key: Buffer.from(key) }));
async function list(store: EmbeddedStore, revision = 0n): Promise<Record<string, string>> {
  const all = Buffer.of(0);
  const { result } = await store.range(create(RangeRequestSchema, { key: all, rangeEnd: all, revision }));
  return Object.fromEntries(result.records.map((each) => [each.key, Buffer.from(each.value).toString()]));
}

const EVERYTHING: Interest = {
  range: { from: "\0", to: undefined },
  puts: true,
  deletes: true,
  previous: false,
};

test("a restart keeps keys, revisions, history and ids", async () => {
  using bed = makeBed();
  let identity: readonly bigint[];
  {
    await using store = bed.open();
    identity = [store.clusterId, store.memberId];
    assert.equal(store.revision, 1);
    await put(store, "a", "1");
    await put(store, "b", "2");
    await put(store, "a", "3");
    await remove(store, "b");
    assert.equal(store.revision, 5);
  }
  await using store = bed.open();
  assert.deepEqual([store.clusterId, store.memberId], identity);
  assert.equal(store.revision, 5);
  assert.deepEqual(await list(store), { a: "3" });
  assert.deepEqual(await list(store, 3n), { a: "1", b: "2" });
});

test("the revision never decreases, although the last changes are compacted", async () => {
  using bed = makeBed();
  {
    await using store = bed.open();
    await put(store, "a", "1");
    await remove(store, "a");
    await store.compact(3, true);
  }
  assert.deepEqual(bed.rows("SELECT * FROM change"), []);
  await using store = bed.open();
  assert.equal(store.revision, 3);
  assert.equal(store.compactedRevision, 3);
});

test("what is written in one turn of the event loop is one transaction", async () => {
  using bed = makeBed();
  await using store = bed.open();
  const heard: number[] = [];
  store.watches.subscribe(EVERYTHING, (news: News) => heard.push(news.events.length));
  await Promise.all(Array.from({ length: 100 }, (_, index) => put(store, `k${index}`, "v")));
  await put(store, "alone", "v");
  assert.deepEqual(heard, [100, 1]);
});

test("a read is not answered before it is on disk", async () => {
  using bed = makeBed();
  await using store = bed.open();
  const order: string[] = [];
  const writing = put(store, "a", "1").then(() => order.push("written"));
  const reading = list(store).then((records) => order.push(`read ${JSON.stringify(records)}`));
  assert.equal(store.committedRevision, 1);
  await Promise.resolve();
  assert.deepEqual(order, []);
  await Promise.all([writing, reading]);
  assert.equal(store.committedRevision, 2);
  assert.deepEqual(order, ["written", 'read {"a":"1"}']);
});

test("a lease expires on time and its keys are deleted, in one revision", async () => {
  using bed = makeBed();
  await using store = bed.open();
  await store.grantLease(7n, 10n);
  for (const key of ["a", "b", "c"]) await put(store, key, "1", 7n);
  await put(store, "c", "2"); // off the lease
  const before = store.revision;
  bed.clock.pass(9_999);
  assert.deepEqual(await list(store), { a: "1", b: "1", c: "2" });
  bed.clock.pass(1);
  assert.deepEqual(await list(store), { c: "2" });
  assert.equal(store.revision, before + 1);
  assert.equal((await store.leaseTimeToLive(7n)).result, undefined);
});

test("a renewed lease does not expire", async () => {
  using bed = makeBed();
  await using store = bed.open();
  await store.grantLease(7n, 10n);
  await put(store, "a", "1", 7n);
  for (let time = 0; time < 5; time++) {
    bed.clock.pass(9_000);
    assert.equal((await store.keepLeaseAlive(7n)).result?.ttlSeconds, 10);
  }
  assert.deepEqual(await list(store), { a: "1" });
  bed.clock.pass(10_000);
  assert.deepEqual(await list(store), {});
  assert.equal((await store.keepLeaseAlive(7n)).result, undefined);
});

test("leases keep their deadlines over a restart; what expired meanwhile is deleted", async () => {
  using bed = makeBed();
  {
    await using store = bed.open();
    await store.grantLease(1n, 10n);
    await store.grantLease(2n, 100n);
    await put(store, "short", "1", 1n);
    await put(store, "long", "1", 2n);
  }
  bed.clock.pass(50_000);
  await using store = bed.open();
  bed.clock.pass(0);
  assert.deepEqual(await list(store), { long: "1" });
  assert.equal((await store.leaseTimeToLive(2n)).result?.remainingMs, 50_000);
  bed.clock.pass(50_000);
  assert.deepEqual(await list(store), {});
});

test("a clock set back while the store was down extends no lease", async () => {
  using bed = makeBed();
  {
    await using store = bed.open();
    await store.grantLease(1n, 10n);
  }
  bed.clock.wallMs -= 86_400_000;
  await using store = bed.open();
  assert.equal((await store.leaseTimeToLive(1n)).result?.remainingMs, 10_000);
});

test("a clock that jumps while the store runs ends no lease", async () => {
  using bed = makeBed();
  await using store = bed.open();
  await store.grantLease(1n, 10n);
  bed.clock.wallMs += 86_400_000;
  bed.clock.pass(5_000);
  assert.equal((await store.leaseTimeToLive(1n)).result?.remainingMs, 5_000);
});

test("a lease longer than the longest timer does not expire early", async () => {
  using bed = makeBed();
  await using store = bed.open();
  await store.grantLease(1n, 9_000_000_000n);
  bed.clock.pass(2 ** 32);
  assert.notEqual((await store.leaseTimeToLive(1n)).result, undefined);
});

test("compaction keeps the newest version of each key and deletes the rest", async () => {
  using bed = makeBed();
  {
    await using store = bed.open();
    for (let round = 0; round < 300; round++) await put(store, `k${round % 3}`, String(round));
    await remove(store, "k2");
    await store.compact(store.revision, true);
    assert.deepEqual(await list(store), { k0: "297", k1: "298" });
    await assert.rejects(list(store, 5n), (error) => hasCode(error, "OUT_OF_RANGE"));
  }
  assert.equal(bed.rows("SELECT * FROM change").length, 2);
  await using store = bed.open();
  assert.deepEqual(await list(store), { k0: "297", k1: "298" });
});

test("history is bounded", async () => {
  using bed = makeBed();
  {
    await using store = bed.open();
    for (let batch = 0; batch < 30; batch++) {
      await Promise.all(
        Array.from({ length: 1000 }, (_, index) => put(store, `k${index % 10}`, String(batch))),
      );
    }
    assert.ok(store.compactedRevision > 5_000, String(store.compactedRevision));
    assert.ok(store.revision - store.compactedRevision >= 10_000);
    await store.compact(store.compactedRevision + 1, true); // waits for the sweeping
  }
  const [{ count }] = bed.rows("SELECT count(*) AS count FROM change") as [{ count: number }];
  assert.ok(count < 22_000, String(count));
});

test("past events come in order, in parts, with the previous record", async () => {
  using bed = makeBed();
  await using store = bed.open();
  for (let round = 0; round < 25; round++) {
    await Promise.all(Array.from({ length: 100 }, (_, index) => put(store, `k${index}`, `${round}`)));
  }
  let next = 2;
  let events = 0;
  let pieces = 0;
  while (next <= store.revision) {
    const past = store.watches.past({ ...EVERYTHING, previous: true }, next);
    assert.ok(past !== undefined && past.next > next);
    events += past.news.events.length;
    next = past.next;
    pieces++;
  }
  assert.equal(events, 2_500);
  assert.ok(pieces > 1);
  await store.compact(100, true);
  assert.equal(store.watches.past(EVERYTHING, 99), undefined);
  assert.notEqual(store.watches.past(EVERYTHING, 100), undefined);
});

test("a key can be written only if it does not exist", async () => {
  using bed = makeBed();
  await using store = bed.open();
  assert.equal(await store.putIfAbsent("config", "one"), true);
  assert.equal(await store.putIfAbsent("config", "two"), false);
  assert.deepEqual(await list(store), { config: "one" });
});

test("a closed store has all started writes on disk and refuses new ones", async () => {
  using bed = makeBed();
  const store = bed.open();
  const writing = put(store, "a", "1");
  await store[Symbol.asyncDispose]();
  await writing;
  await assert.rejects(put(store, "b", "1"), (error) => hasCode(error, "UNAVAILABLE"));
  await using again = bed.open();
  assert.deepEqual(await list(again), { a: "1" });
});
