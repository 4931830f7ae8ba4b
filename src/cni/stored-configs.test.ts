import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Worker } from "node:worker_threads";
import { CniError } from "./cni-error.ts";
import { nodeSystem } from "./node-system.ts";
import { findConfig, listConfigs, removeConfig, storeConfig } from "./stored-configs.ts";

const SYSTEM = nodeSystem();
const ETH0 = { containerId: "4f2a", ifName: "eth0" };
const NET1 = { containerId: "4f2a", ifName: "net1" };

/** A data directory that does not exist yet, and what Go's plugin does in it. */
function makeBed(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), `cni-store-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const dataDir = join(root, "var/lib/cni");
  const place = join(dataDir, ETH0.containerId);
  return {
    dataDir,
    names: () => readdirSync(dataDir).sort(),
    goAdd: (text: string) => writeFileSync(place, text, { mode: 0o600 }),
    goReads: () => readFileSync(place, "utf8"),
    goDel: () => rmSync(place),
    store: (attachment: typeof ETH0, text: string) => storeConfig(SYSTEM, dataDir, attachment, text),
    find: (attachment: typeof ETH0) => findConfig(SYSTEM, dataDir, attachment)?.text,
    remove: (attachment: typeof ETH0) => {
      const stored = findConfig(SYSTEM, dataDir, attachment);
      assert.ok(stored);
      removeConfig(SYSTEM, dataDir, attachment, stored);
    },
  };
}

test("stores a config where Go's plugin does: one file, for root only", (t) => {
  const bed = makeBed(t);
  assert.equal(bed.store(ETH0, "A"), undefined);
  assert.deepEqual(bed.names(), ["4f2a"]);
  assert.equal(bed.goReads(), "A");
  assert.equal(statSync(bed.dataDir).mode & 0o777, 0o700);
  const umask = process.umask(0o777);
  t.after(() => process.umask(umask));
  bed.store(ETH0, "A");
  assert.equal(statSync(join(bed.dataDir, "4f2a")).mode & 0o777, 0o600);
  assert.equal(bed.find(ETH0), "A");
  bed.remove(ETH0);
  assert.deepEqual(bed.names(), []);
  assert.equal(bed.find(ETH0), undefined);
});

test("a config for the same interface replaces the previous one, and returns it", (t) => {
  const bed = makeBed(t);
  bed.store(ETH0, "A");
  assert.equal(bed.store(ETH0, "B"), "A");
  assert.equal(bed.find(ETH0), "B");
  assert.deepEqual(bed.names(), ["4f2a"]);
});

test("a second interface does not overwrite the config of the first, in any order", (t) => {
  for (const order of [
    [ETH0, NET1],
    [NET1, ETH0],
  ] as const) {
    for (const goes of [ETH0, NET1]) {
      const bed = makeBed(t);
      for (const attachment of order) {
        assert.equal(bed.store(attachment, attachment.ifName), undefined);
      }
      const stays = goes === ETH0 ? NET1 : ETH0;
      bed.remove(goes);
      assert.equal(bed.find(goes), undefined, "deleting again finds nothing");
      assert.equal(bed.find(stays), stays.ifName);
      bed.remove(stays);
      assert.deepEqual(bed.names(), []);
    }
  }
});

test("an interface that is added again after its container's first was deleted has one config", (t) => {
  const bed = makeBed(t);
  bed.store(ETH0, "A");
  bed.store(NET1, "B");
  bed.remove(ETH0);
  assert.equal(bed.store(NET1, "C"), "B");
  assert.equal(bed.find(NET1), "C");
  bed.remove(NET1);
  assert.deepEqual(bed.names(), []);
});

test("Go's plugin stores, this one deletes: whatever the interface is called", (t) => {
  for (const attachment of [ETH0, NET1]) {
    const bed = makeBed(t);
    bed.store(ETH0, "before");
    bed.remove(ETH0);
    bed.goAdd("Go's");
    assert.equal(bed.find(attachment), "Go's");
    bed.remove(attachment);
    assert.deepEqual(bed.names(), []);
  }
});

test("a second interface beside one that Go's plugin has stored", (t) => {
  const bed = makeBed(t);
  bed.store(ETH0, "before");
  bed.remove(ETH0);
  bed.goAdd("Go's");
  bed.store(NET1, "B");
  assert.equal(bed.goReads(), "Go's");
  assert.deepEqual([bed.find(ETH0), bed.find(NET1)], ["Go's", "B"]);
  bed.remove(NET1);
  assert.equal(bed.find(NET1), undefined);
  bed.remove(ETH0);
  assert.deepEqual(bed.names(), []);
});

test("this plugin stores, Go's deletes, this one stores again", (t) => {
  for (const attachment of [ETH0, NET1]) {
    const bed = makeBed(t);
    bed.store(attachment, "A");
    bed.goDel();
    assert.equal(bed.find(attachment), undefined);
    assert.equal(bed.store(NET1, "B"), undefined);
    assert.equal(bed.goReads(), "B");
    bed.remove(NET1);
    assert.deepEqual(bed.names(), []);
  }
});

test("two interfaces of a container at the same time, repeatedly", async (t) => {
  const bed = makeBed(t);
  const rounds = 100;
  const shared = new Int32Array(new SharedArrayBuffer(4 * (rounds + 1)));
  const code = `
    const { workerData: { modules, dataDir, ifName, shared, rounds } } = require("node:worker_threads");
    Promise.all(modules.map((module) => import(module))).then(([{ storeConfig }, { nodeSystem }]) => {
      for (let round = 0; round < rounds; round++) {
        Atomics.add(shared, round, 1); // both begin each round together
        while (Atomics.load(shared, round) < 2);
        storeConfig(nodeSystem(), dataDir, { containerId: "c" + round, ifName }, ifName + round);
      }
    });`;
  const modules = ["stored-configs", "node-system"].map(
    (name) => new URL(`./${name}.ts`, import.meta.url).href,
  );
  const workers = ["eth0", "net1"].map(
    (ifName) =>
      new Worker(code, {
        eval: true,
        workerData: { modules, dataDir: bed.dataDir, ifName, shared, rounds },
      }),
  );
  await Promise.all(workers.map((worker) => once(worker, "exit")));
  for (let round = 0; round < rounds; round++) {
    for (const ifName of round % 2 === 0 ? ["net1", "eth0"] : ["eth0", "net1"]) {
      const attachment = { containerId: `c${round}`, ifName };
      assert.equal(bed.find(attachment), `${ifName}${round}`);
      bed.remove(attachment);
      assert.equal(bed.find(attachment), undefined);
    }
  }
  assert.deepEqual(bed.names(), []);
});

test("lists what is stored, and removes what Go's plugin leaves", (t) => {
  const bed = makeBed(t);
  assert.deepEqual(listConfigs(SYSTEM, bed.dataDir), []);
  bed.store(ETH0, "A");
  bed.store(NET1, "B");
  storeConfig(SYSTEM, bed.dataDir, { containerId: "77", ifName: "eth0" }, "C");
  storeConfig(SYSTEM, bed.dataDir, { containerId: "88", ifName: "net7" }, "D");
  storeConfig(SYSTEM, bed.dataDir, { containerId: "99", ifName: "net9" }, "E");
  rmSync(join(bed.dataDir, "99"));
  const listed = listConfigs(SYSTEM, bed.dataDir)
    .map(({ containerId, ifName, isGuess, text }) => `${containerId} ${ifName}${isGuess ? "?" : ""} ${text}`)
    .sort();
  assert.deepEqual(listed, ["4f2a eth0 A", "4f2a net1 B", "77 eth0? C", "88 net7 D"]);
  assert.deepEqual(bed.names(), [".4f2a", ".88", "4f2a", "4f2a:net1", "77", "88"]);
});

test("a directory that cannot be written: the reason, and no partial file", (t) => {
  const bed = makeBed(t);
  const refusal = (dataDir: string) => {
    try {
      storeConfig(SYSTEM, dataDir, ETH0, "A");
    } catch (error) {
      assert.ok(error instanceof CniError);
      return `${error.cniCode} ${error.message}`;
    }
    return "nothing";
  };
  bed.store(ETH0, "A");
  assert.match(refusal(join(bed.dataDir, "4f2a")), /^5 failed to store the delegate's config in .*ENOTDIR/);
  assert.match(refusal("/proc/nothing/here"), /^5 failed to store .*ENOENT/);
  assert.deepEqual(bed.names(), ["4f2a"]);
  assert.equal(existsSync("/proc/nothing"), false);
});
