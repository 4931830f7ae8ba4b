import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { ConfigError, StoreError } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import { encodeLeaseValue } from "../lease/lease-codec.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { createMemoryLeaseStore, MemoryDatastore } from "../testing/memory-lease-store.ts";
import { waitForNetwork } from "./network.ts";

/** Waits for a network in a datastore of its own, until the test ends. */
function start(t: TestContext) {
  const data = new MemoryDatastore();
  const timers = new FakeTimers();
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger = { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") };
  const problems: (string | undefined)[] = [];
  const stop = new AbortController();
  const store = createMemoryLeaseStore(data);
  const found = waitForNetwork(store, "etcd key /net/config", stop.signal, { logger, timers }, (problem) =>
    problems.push(problem),
  );
  t.after(async () => {
    stop.abort();
    await found;
    data[Symbol.dispose]();
    await store[Symbol.asyncDispose]();
  });
  return { data, timers, log, problems, found, stop };
}

test("a config that is there is used, and what it leaves to us is said", async (t) => {
  const { data, log, found, problems } = start(t);
  data.setConfig('{"network":"10.5.0.0/16"}');
  const usable = await found;
  assert.equal(usable?.backend.type, "vxlan");
  assert.equal(usable?.ipv4?.subnetLength, 24);
  assert.match(log.join(), /no Backend: using vxlan/); // W12
  assert.deepEqual(problems, [undefined]);
});

const lease = (host: number, backendType: string) =>
  encodeLeaseValue({
    publicIp: parseIp(`192.168.7.${host}`),
    publicIpv6: undefined,
    backendType,
    backendData: undefined,
    backendV6Data: undefined,
  });

test("F9 a config without Backend follows the leases that exist, and says so", async (t) => {
  for (const [types, backend, reason] of [
    [["", ""], "udp", "2 of 2 leases run it"],
    [["host-gw", "", "host-gw"], "host-gw", "2 of 3 leases run it"],
  ] as const) {
    const { data, log, found, timers } = start(t);
    for (const [index, type] of types.entries()) data.put(`10.5.${index}.0-24`, lease(index, type), 60_000);
    data.setConfig('{"Network":"10.5.0.0/16"}');
    await timers.advance(1_000);
    assert.equal((await found)?.backend.type, backend);
    assert.match(log.join(), new RegExp(`no Backend: using ${backend}, because ${reason}`));
  }
});

test("each problem is logged once, with the place and an example, and retried every second until it is fixed", async (t) => {
  const { data, timers, log, found } = start(t);
  const errors = () => log.filter((line) => line.startsWith("E"));
  await timers.advance(5000);
  assert.equal(errors().length, 1);
  assert.match(
    errors()[0]!,
    /No usable network config; retrying: there is no network config at etcd key \/net\/config: put one there, e\.g\. \{"Network"/,
  );
  data.setConfig("{");
  await timers.advance(3000);
  data.setConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlam"}}');
  await timers.advance(3000);
  data.setConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":-1}}');
  await timers.advance(3000);
  data.failNext(new StoreError("UNAVAILABLE", "etcd is away"));
  await timers.advance(1000);
  data.setConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":1}}');
  await timers.advance(1000);
  assert.ok(await found);
  assert.deepEqual(
    errors().map((line) => /JSON|vxlam|VNI|etcd is away|there is no/.exec(line)?.[0]),
    ["there is no", "JSON", "vxlam", "VNI", "etcd is away"],
  );
});

test("W17 a local config that is missing, unreadable or bad ends the start, with what is wrong and where", async () => {
  const where = "/etc/net-conf.json (--net-config-path)";
  const cases: readonly (readonly [text: string | StoreError, message: RegExp])[] = [
    [
      new StoreError("NOT_FOUND", "ENOENT"),
      /^there is no network config at \/etc\/net-conf\.json \(--net-config-path\): put one there/,
    ],
    [new StoreError("UNAVAILABLE", "EACCES"), /^EACCES: correct \/etc\/net-conf\.json/],
    ["{", /^network config .*JSON.*: correct \/etc\/net-conf\.json/],
    ['{"Network":"10.5.0.0/16","SubnetLen":31}', /SubnetLen.*: correct \/etc/],
    ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlam"}}', /vxlam.*: correct \/etc/],
    ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":-1}}', /VNI.*: correct \/etc/],
  ];
  for (const [text, message] of cases) {
    using data = new MemoryDatastore();
    await using store = createMemoryLeaseStore(data);
    if (typeof text === "string") data.setConfig(text);
    else data.failNext(text);
    const waiting = waitForNetwork(
      { ...store, hasLocalConfig: true },
      where,
      AbortSignal.timeout(10_000),
      { logger: silentLogger, timers: new FakeTimers() },
      () => {},
    );
    await assert.rejects(waiting, (error) => error instanceof ConfigError && message.test(error.message));
  }
});

test("an end while it waits is silent", async (t) => {
  const { found, stop, log, timers } = start(t);
  await timers.advance(10);
  const { length } = log;
  stop.abort();
  await settle();
  assert.equal(await found, undefined);
  assert.equal(log.length, length);
});
