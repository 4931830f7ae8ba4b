import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ConfigError } from "../../base/error.ts";
import { silentLogger } from "../../base/logger.ts";
import { PutRequestSchema, RangeRequestSchema } from "../../etcd-api/rpc_pb.ts";
import { EmbeddedStore } from "../store/embedded-store.ts";

const open = (dataDirectory: string) => EmbeddedStore.open({ dataDirectory, logger: silentLogger });

/** A directory with a store of some hundred keys in it, closed. */
async function makeStore() {
  const directory = mkdtempSync(join(tmpdir(), `flannel-damage-${process.pid}-`));
  {
    await using store = open(directory);
    const puts = Array.from({ length: 500 }, (_, index) =>
      store.put(create(PutRequestSchema, { key: Buffer.from(`k${index}`), value: Buffer.alloc(100, 65) })),
    );
    await Promise.all(puts);
  }
  const path = join(directory, "store.db");
  return {
    directory,
    path,
    /** Opening is refused with a message that fits and names the database, which stays as it is. */
    refused(message: RegExp) {
      const before = readFileSync(path);
      const isFitting = (error: unknown) =>
        error instanceof ConfigError && message.test(error.message) && error.message.includes(path);
      assert.throws(() => open(directory), isFitting);
      assert.throws(() => open(directory), isFitting, "a second time");
      assert.deepEqual(readFileSync(path), before);
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

test("refuses a database that is empty, cut off or something else, and leaves it", async () => {
  using store = await makeStore();
  const whole = readFileSync(store.path);
  truncateSync(store.path, whole.length / 2);
  store.refused(/damaged.*Restore/s);
  truncateSync(store.path, 50);
  store.refused(/damaged \(it is cut off\)/);
  truncateSync(store.path, 0);
  store.refused(/damaged \(it is cut off\)/);
  writeFileSync(store.path, Buffer.alloc(10_000, 7));
  store.refused(/damaged \(it is no database\)/);
  writeFileSync(store.path, whole);
  await open(store.directory)[Symbol.asyncDispose]();
});

test("notices every flipped byte that matters: it opens with all keys whole or not at all", async () => {
  using store = await makeStore();
  const whole = readFileSync(store.path);
  let refusals = 0;
  for (let at = 4096; at < whole.length; at += 1009) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 0x10;
    writeFileSync(store.path, damaged);
    try {
      await using opened = open(store.directory);
      const all = Buffer.of(0);
      const { result } = await opened.range(create(RangeRequestSchema, { key: all, rangeEnd: all }));
      assert.equal(result.records.length, 500);
      assert.ok(result.records.every(({ value }) => value.every((byte) => byte === 65)));
    } catch (error) {
      assert.ok(error instanceof ConfigError, String(error));
      refusals++;
    }
  }
  assert.ok(refusals > 10, `${refusals} refusals`);
});

test("refuses another program's database", async () => {
  using store = await makeStore();
  rmSync(store.path);
  const other = new DatabaseSync(store.path);
  other.exec("CREATE TABLE mine (x)");
  other.close();
  store.refused(/it is not flannel's/);
});

test("refuses the data of a newer version and leaves them", async () => {
  using store = await makeStore();
  const newer = new DatabaseSync(store.path);
  newer.exec("PRAGMA user_version = 2; PRAGMA wal_checkpoint(TRUNCATE)");
  newer.close();
  store.refused(/newer version.*format is 2.*up to 1/);
});

test("does not begin anew when the database was moved away from its log", async () => {
  using store = await makeStore();
  writeFileSync(`${store.path}-wal`, "x");
  renameSync(store.path, `${store.path}.moved`);
  assert.throws(() => open(store.directory), /missing, but its log/);
});

test("two stores on one directory: the second is told who has it", async () => {
  using store = await makeStore();
  await using _first = open(store.directory);
  assert.throws(() => open(store.directory), new RegExp(`in use by process ${process.pid}`));
});

test("says what is wrong with a directory that cannot be used", () => {
  assert.throws(() => open("/dev/null/store"), /cannot use the data directory \/dev\/null\/store/);
});
