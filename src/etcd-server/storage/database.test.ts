import assert from "node:assert/strict";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
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

test("refuses a database that is empty, truncated or foreign, and leaves it unchanged", async () => {
  using store = await makeStore();
  const whole = readFileSync(store.path);
  truncateSync(store.path, whole.length / 2);
  store.refused(/damaged.*restore/s);
  truncateSync(store.path, 50);
  store.refused(/damaged \(it is truncated\)/);
  truncateSync(store.path, 0);
  store.refused(/damaged \(it is truncated\)/);
  writeFileSync(store.path, Buffer.alloc(10_000, 7));
  store.refused(/damaged \(it is not a database\)/);
  writeFileSync(store.path, whole);
  await open(store.directory)[Symbol.asyncDispose]();
});

test("detects every flipped byte that matters: it opens with all keys intact or not at all", async () => {
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
  store.refused(/it was not created by flannel/);
});

test("refuses the data of a newer version and leaves it unchanged", async () => {
  using store = await makeStore();
  const newer = new DatabaseSync(store.path);
  newer.exec("PRAGMA user_version = 2; PRAGMA wal_checkpoint(TRUNCATE)");
  newer.close();
  store.refused(/newer version.*format 2.*up to 1/);
});

test("does not create a database beside the log of one that was moved away", async () => {
  using store = await makeStore();
  writeFileSync(`${store.path}-wal`, "x");
  renameSync(store.path, `${store.path}.moved`);
  assert.throws(() => open(store.directory), /missing, but its log/);
});

test("two stores on one directory: the error of the second names the process that holds it", async () => {
  using store = await makeStore();
  await using _first = open(store.directory);
  assert.throws(() => open(store.directory), new RegExp(`in use by process ${process.pid}`));
});

test("explains why a directory cannot be used", () => {
  assert.throws(() => open("/dev/null/store"), /failed to use the data directory \/dev\/null\/store/);
});

test("F24 files are readable by their owner only, in an existing directory of mode 0755 too", async () => {
  const directory = mkdtempSync(join(tmpdir(), `flannel-modes-${process.pid}-`));
  try {
    chmodSync(directory, 0o755);
    const modes = () =>
      Object.fromEntries(
        readdirSync(directory).map((name) => [name, statSync(join(directory, name)).mode & 0o777]),
      );
    const put = async () => {
      await using store = open(directory);
      await store.put(create(PutRequestSchema, { key: Buffer.from("k"), value: Buffer.from("v") }));
      const names = Object.keys(modes());
      for (const name of ["store.db", "store.db-wal", "lock", "pid"]) assert.ok(names.includes(name), name);
      for (const [name, mode] of Object.entries(modes())) assert.equal(mode, 0o600, name);
    };
    await put();
    // As an earlier version, or a copy made as a backup, left them.
    writeFileSync(join(directory, "store.db.bak"), "");
    writeFileSync(join(directory, "store.db-wal"), "");
    for (const name of readdirSync(directory)) chmodSync(join(directory, name), 0o644);
    writeFileSync(join(directory, "other"), "", { mode: 0o644 });
    const target = join(directory, "target");
    writeFileSync(target, "", { mode: 0o644 });
    symlinkSync(target, join(directory, "store.db.link"));
    await open(directory)[Symbol.asyncDispose]();
    const { other, target: linked, ...ours } = modes();
    assert.deepEqual([other, linked], [0o644, 0o644], "foreign files keep their mode");
    delete ours["store.db.link"];
    for (const [name, mode] of Object.entries(ours)) assert.equal(mode, 0o600, name);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
