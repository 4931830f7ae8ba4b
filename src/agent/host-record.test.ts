import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { formatIp, type Ip, parseIp } from "../address/ip.ts";
import type { Host } from "../backend/backend.ts";
import { StoreError } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import type { HostRecord, LeaseStore } from "../lease/lease-store.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { createMemoryLeaseStore, MemoryDatastore } from "../testing/memory-lease-store.ts";
import { describeHost } from "./host.ts";
import { attributesOf, readHostRecord, withRecord } from "./host-record.ts";

const NOTHING: HostRecord = {
  publicIp: undefined,
  publicIpv6: undefined,
  publishedIp: undefined,
  publishedIpv6: undefined,
  attributes: undefined,
};
const [A, B, C, D] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"].map((text) => parseIp(text)!);

function start(t: TestContext, readHost: (() => Promise<HostRecord>) | undefined) {
  const data = new MemoryDatastore();
  const memory = createMemoryLeaseStore(data);
  const store: LeaseStore = readHost === undefined ? memory : { ...memory, readHost };
  const timers = new FakeTimers();
  const log: string[] = [];
  const logger = { ...silentLogger, error: (message: string) => void log.push(message) };
  const problems: (string | undefined)[] = [];
  const stop = new AbortController();
  const record = readHostRecord(store, stop.signal, { logger, timers }, (problem) => problems.push(problem));
  t.after(async () => {
    stop.abort();
    data[Symbol.dispose]();
    await memory[Symbol.asyncDispose]();
  });
  return { record, timers, log, problems, stop };
}

test("a datastore that keeps no record of hosts says nothing", async (t) => {
  assert.deepEqual(await start(t, undefined).record, NOTHING);
});

test("each problem is logged once, with a retry every second", async (t) => {
  const answers = ["the API server is away", "the API server is away", "no node h1"].map(
    (message) => new StoreError("UNAVAILABLE", message),
  );
  const { record, timers, log, problems } = start(t, async () => {
    const failure = answers.shift();
    if (failure !== undefined) throw failure;
    return { ...NOTHING, publicIp: A };
  });
  await timers.advance(3_000);
  assert.equal((await record)?.publicIp, A);
  const prefix = "Failed to read the record of this host from the datastore; retrying: ";
  assert.deepEqual(log, [`${prefix}the API server is away`, `${prefix}no node h1`]);
  assert.equal(problems.at(-1), undefined);
  assert.equal(problems[0], "the API server is away");
});

test("an end while it waits is silent", async (t) => {
  const { record, log, stop } = start(t, async () => {
    throw new StoreError("UNAVAILABLE", "away");
  });
  await settle();
  stop.abort();
  assert.equal(await record, undefined);
  assert.equal(log.length, 1);
});

test("an address that is written on the node counts as if it were given by a flag, and goes before it", () => {
  const flags = { iface: [], ifaceRegex: [], ifaceCanReach: undefined, publicIp: A, publicIpv6: undefined };
  const said: string[] = [];
  const logger = { ...silentLogger, info: (message: string) => void said.push(message) };
  assert.deepEqual(withRecord(flags, NOTHING, logger), flags);
  assert.deepEqual(withRecord(flags, { ...NOTHING, publicIp: A }, logger), flags);
  assert.deepEqual(said, []);
  const both = withRecord(flags, { ...NOTHING, publicIp: B, publicIpv6: C }, logger);
  assert.deepEqual([both.publicIp, both.publicIpv6], [B, C]);
  assert.deepEqual(said, ["The node's annotation names 192.0.2.2: --public-ip=192.0.2.1 is not used"]);
});

test("what is to be published instead reaches peers only, in the families that there are", () => {
  const host: Host = {
    ...{ interfaceName: "eth0", interfaceMtuBytes: 1500, ipv4: A, ipv6: C },
    ...{ publicIp: A, publicIpv6: C },
  };
  const data = { backendType: "vxlan", backendData: { VNI: 1 }, backendV6Data: undefined };
  const show = (ip: Ip | undefined) => ip && formatIp(ip);
  const published = (host: Host, record: Partial<HostRecord>) => {
    const attributes = attributesOf(host, data, { ...NOTHING, ...record });
    assert.equal(attributes.backendData, data.backendData);
    return [show(attributes.publicIp), show(attributes.publicIpv6)];
  };
  assert.deepEqual(published(host, {}), ["192.0.2.1", "2001:db8::1"]);
  assert.deepEqual(published(host, { publishedIp: B }), ["192.0.2.2", "2001:db8::1"]);
  assert.deepEqual(published(host, { publishedIpv6: D }), ["192.0.2.1", "2001:db8::2"]);
  assert.deepEqual(published({ ...host, publicIpv6: undefined }, { publishedIpv6: D }), [
    "192.0.2.1",
    undefined,
  ]);
  const overwritten = attributesOf(host, data, { ...NOTHING, publishedIp: B });
  assert.equal(
    describeHost(host, overwritten),
    "eth0: 192.0.2.1, 2001:db8::1, MTU 1500, published as 192.0.2.2, 2001:db8::1",
  );
  assert.equal(describeHost(host), "eth0: 192.0.2.1, 2001:db8::1, MTU 1500");
});
