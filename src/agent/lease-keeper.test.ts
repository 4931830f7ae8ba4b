import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { StoreError } from "../base/error.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import type { Lease, LeaseAttributes, OwnLease } from "../lease/lease.ts";
import type { AcquireRequest } from "../lease/lease-store.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { ScriptedLeaseStore } from "../testing/scripted-lease-store.ts";
import { LeaseKeeper } from "./lease-keeper.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const NETWORK = parseNetworkConfig('{"Network":"10.5.0.0/16"}');
const MINE: LeaseAttributes = {
  publicIp: parseIp("192.168.7.1"),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" },
  backendV6Data: undefined,
};

const unavailable = new StoreError("UNAVAILABLE", "etcd is away");

/** A keeper that runs on a scripted store until the test ends. */
function start(
  t: TestContext,
  prepare: (store: ScriptedLeaseStore) => void = () => {},
  renewMarginMs = HOUR_MS,
) {
  const timers = new FakeTimers();
  const store = new ScriptedLeaseStore(timers);
  prepare(store);
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const given: string[] = [];
  const keeper = new LeaseKeeper({
    store,
    network: NETWORK,
    attributes: MINE,
    previous: { ipv4: parsePrefix("10.5.9.0/24"), ipv6: undefined },
    renewMarginMs,
    usedPrefixes: () => [],
    logger: { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") },
    timers,
    wallClockMs: () => store.wallClockMs(),
    onSubnets: ({ key }) => given.push(key),
  });
  const stop = new AbortController();
  const ended = (async () => {
    if ((await keeper.acquire(stop.signal)) !== undefined) await keeper.run(stop.signal);
  })();
  const end = async () => {
    stop.abort();
    await ended;
  };
  t.after(end);
  const errors = () => log.filter((line) => line.startsWith("E"));
  return { timers, store, log, errors, given, keeper, end };
}

const seen = (own: OwnLease, changes: Partial<LeaseAttributes> = {}): Lease => ({
  key: own.key,
  subnets: own.subnets,
  attributes: { ...MINE, ...changes },
});

test("takes a lease, asking for the subnet of the previous run, and tells of it once", async (t) => {
  const { store, keeper, given } = start(t);
  assert.equal(keeper.problem, "no lease yet");
  await settle();
  assert.deepEqual(given, ["10.5.1.0-24"]);
  assert.equal(keeper.problem, undefined);
  assert.deepEqual((store.requests[0] as AcquireRequest).previous?.ipv4, parsePrefix("10.5.9.0/24"));
});

test("renews as long before the end as the margin says, again and again", async (t) => {
  const { timers, store, given } = start(t);
  await settle();
  await timers.advance(23 * HOUR_MS - 1);
  assert.equal(store.renewals, 0);
  await timers.advance(1);
  assert.equal(store.renewals, 1);
  await timers.advance(23 * HOUR_MS - 1);
  assert.equal(store.renewals, 1);
  await timers.advance(1);
  assert.equal(store.renewals, 2);
  assert.deepEqual(given, ["10.5.1.0-24"], "the same subnets are no news");
});

test("F16 every margin up to 1439 minutes is honoured by a lease of a day", async (t) => {
  for (const minutes of [60, 959, 961, 1200, 1430, 1439]) {
    const { store, timers, log, end } = start(t, undefined, minutes * 60_000);
    await settle();
    await timers.advance(DAY_MS - minutes * 60_000 - 1000);
    assert.equal(store.renewals, 0, `${minutes}`);
    await timers.advance(1000);
    assert.equal(store.renewals, 1, `${minutes}`);
    assert.equal(log.filter((line) => line.startsWith("W")).length, 0);
    await end();
  }
});

test("F16 a margin that leases of this life cannot have is logged once; no lease is renewed all the time", async (t) => {
  const { store, timers, log } = start(t, (store) => {
    store.lifeMs = HOUR_MS;
  });
  await settle();
  await timers.advance(2 * HOUR_MS);
  assert.equal(store.renewals, 6);
  assert.deepEqual(
    log.filter((line) => line.startsWith("W")),
    ["W Leases last 3600 s, so --subnet-lease-renew-margin=60 has no effect; renewing after 1200 s"],
  );
  const barely = start(t, (store) => {
    store.lifeMs = HOUR_MS + 2_000;
  });
  await settle();
  await barely.timers.advance(10 * 60_000);
  assert.equal(barely.store.renewals, 10);
});

test("a lease shorter than the margin is renewed after a third of its life", async (t) => {
  const { timers, store } = start(t, (store) => {
    store.lifeMs = 30_000;
  });
  await settle();
  await timers.advance(9_999);
  assert.equal(store.renewals, 0);
  await timers.advance(1);
  assert.equal(store.renewals, 1);
});

test("a lease of months is renewed daily: no timer waits that long", async (t) => {
  const { timers, store } = start(t, (store) => {
    store.lifeMs = 100 * DAY_MS;
  });
  await settle();
  assert.ok(timers.nextMs! <= DAY_MS);
  await timers.advance(3 * DAY_MS);
  assert.equal(store.renewals, 3);
});

test("W7 a reservation is never renewed", async (t) => {
  const { timers, store, log } = start(t, (store) => {
    store.lifeMs = undefined;
  });
  await settle();
  await timers.advance(1000 * DAY_MS);
  assert.equal(store.renewals, 0);
  assert.match(log.join(), /Acquired lease 10\.5\.1\.0\/24; does not expire/);
});

test("an acquisition that fails is tried every second, and each problem said once", async (t) => {
  const { timers, store, errors, keeper } = start(t, (store) => {
    store.failure = unavailable;
  });
  await settle();
  await timers.advance(10_000);
  assert.ok(store.acquisitions >= 10);
  assert.equal(errors().length, 1);
  assert.match(keeper.problem!, /no lease: etcd is away/);
  store.failure = new StoreError("OUT_OF_SUBNETS", "out of subnets");
  await timers.advance(3000);
  assert.equal(errors().length, 2);
  store.failure = undefined;
  await timers.advance(1000);
  assert.equal(keeper.problem, undefined);
});

test("a renewal that fails is tried every minute, faster towards the end, and readiness falls only after it", async (t) => {
  const { timers, store, keeper } = start(t);
  await settle();
  store.failure = unavailable;
  await timers.advance(23 * HOUR_MS + 10 * MINUTE_MS);
  assert.ok(store.renewals >= 10 && store.renewals <= 12, `${store.renewals}`);
  assert.equal(keeper.problem, undefined, "the lease still holds");
  await timers.advance(50 * MINUTE_MS + 2000);
  assert.match(keeper.problem!, /the lease has expired and failed to be renewed: etcd is away/);
  store.failure = undefined;
  await timers.advance(2000);
  assert.equal(keeper.problem, undefined, "etcd had not let it expire after all");
});

for (const [title, stepMs] of [
  ["forward", DAY_MS],
  ["back", -DAY_MS],
] as const) {
  test(`a clock that steps ${title} by a day neither ends a good lease nor stops its renewals`, async (t) => {
    const { timers, store, keeper, errors } = start(t);
    await settle();
    store.wallOffsetMs = stepMs;
    await timers.advance(23 * HOUR_MS - 1);
    assert.equal(store.renewals, 0, "not before its time");
    store.failure = unavailable;
    await timers.advance(1 + 10 * MINUTE_MS);
    assert.ok(store.renewals >= 10 && store.renewals <= 12, `tried every minute: ${store.renewals}`);
    assert.equal(keeper.problem, undefined, "the lease still holds");
    assert.match(
      errors().at(-1)!,
      /expires in 3180 s; retrying/,
      "logged at growing intervals: 0, 1, 3, 7 min",
    );
    store.failure = undefined;
    await timers.advance(MINUTE_MS);
    const { renewals } = store;
    store.wallOffsetMs = 0; // and back
    await timers.advance(23 * HOUR_MS);
    assert.equal(store.renewals, renewals + 1);
  });
}

test("W8 a lease whose key is gone is taken again at once", async (t) => {
  const { store, keeper, given, log } = start(t);
  await settle();
  keeper.observe(undefined);
  assert.match(keeper.problem!, /lease lost: it was deleted or has expired/);
  await settle();
  assert.equal(keeper.problem, undefined);
  assert.equal(store.acquisitions, 2);
  assert.deepEqual((store.requests[1] as AcquireRequest).previous, keeper.own!.subnets);
  assert.deepEqual(given, ["10.5.1.0-24"]);
  assert.equal(log.filter((line) => line.startsWith("W Lost lease")).length, 1);
});

test("W6 W8 a renewal that finds the lease lost takes another, and tells of the new subnets", async (t) => {
  const { timers, store, given } = start(t);
  await settle();
  store.failure = new StoreError("LEASE_LOST", "it belongs to 192.168.7.9");
  store.next = 2;
  await timers.advance(23 * HOUR_MS);
  store.failure = undefined;
  await timers.advance(1000);
  assert.deepEqual(given, ["10.5.1.0-24", "10.5.2.0-24"]);
});

test("W6 a lease that another host holds now is left to it", async (t) => {
  const { store, keeper, given } = start(t);
  await settle();
  store.next = 2;
  keeper.observe(seen(keeper.own!, { publicIp: parseIp("192.168.7.9") }));
  assert.match(keeper.problem!, /it is now held by 192\.168\.7\.9/);
  await settle();
  assert.deepEqual(given, ["10.5.1.0-24", "10.5.2.0-24"]);
});

test("W14 a lease that has other subnets now is taken anew, with them", async (t) => {
  const { store, keeper, given, log } = start(t);
  await settle();
  store.next = 2;
  const other = { ipv4: parsePrefix("10.5.2.0/24"), ipv6: undefined };
  keeper.observe({ ...seen(keeper.own!), subnets: other });
  assert.match(keeper.problem!, /lease lost: this host's subnets are now 10\.5\.2\.0\/24/);
  await settle();
  assert.deepEqual(given, ["10.5.1.0-24", "10.5.2.0-24"]);
  keeper.observe(seen(keeper.own!));
  await settle();
  assert.equal(keeper.problem, undefined);
  assert.equal(log.filter((line) => line.startsWith("W Lost lease")).length, 1);
});

test("a lease lost while a renewal waits for its next try is taken again at once", async (t) => {
  const { timers, store, keeper } = start(t);
  await settle();
  store.failure = unavailable;
  await timers.advance(23 * HOUR_MS);
  assert.equal(store.renewals, 1);
  store.failure = undefined;
  keeper.observe(undefined);
  await settle();
  assert.equal(store.acquisitions, 2);
});

test("two hosts, one public IP: said once, not fought over, and over when the other is gone", async (t) => {
  const { timers, store, keeper, errors, log } = start(t);
  await settle();
  const duplicate = { backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:99" } };
  keeper.observe(seen(keeper.own!, duplicate));
  keeper.observe(seen(keeper.own!, duplicate));
  assert.equal(errors().length, 1);
  assert.match(errors()[0]!, /Lease conflict: .*192\.168\.7\.1 .*--public-ip or --iface/);
  assert.match(keeper.problem!, /another host uses this host's public IP/);
  await timers.advance(2 * DAY_MS);
  assert.equal(store.renewals, 0, "no contest");
  keeper.observe(seen(keeper.own!));
  assert.equal(keeper.problem, undefined);
  assert.match(log.at(-1)!, /Lease conflict over .* is resolved/);
  await timers.advance(MINUTE_MS);
  assert.equal(store.renewals, 1, "and goes on where it was");
  keeper.observe(seen(keeper.own!, duplicate));
  keeper.observe(undefined); // the other's lease has ended
  await settle();
  assert.equal(keeper.problem, undefined);
  assert.equal(store.acquisitions, 2);
});

test("what the own writes bring back from the watch changes nothing", async (t) => {
  const { store, keeper, log } = start(t);
  await settle();
  const { length } = log;
  keeper.observe(seen(keeper.own!, { backendData: { VtepMAC: "02:00:00:00:00:01", VNI: 1 } }));
  await settle();
  assert.equal(log.length, length);
  assert.equal(store.requests.length, 1);
});

test("ends at once in every state", async (t) => {
  for (const failure of [undefined, unavailable]) {
    const { timers, end, errors } = start(t, (store) => {
      store.failure = failure;
    });
    await settle();
    await timers.advance(100);
    const { length } = errors();
    await end();
    assert.equal(errors().length, length);
  }
});

const MOVED: LeaseAttributes = { ...MINE, publicIp: parseIp("192.168.7.51") };

test("W45 other attributes are published at once, on the lease that is held, and tried on while that fails", async (t) => {
  const { timers, store, keeper, given } = start(t);
  await settle();
  const { key } = keeper.own!;
  store.failure = unavailable;
  keeper.update(NETWORK, MOVED);
  await settle();
  assert.equal(store.renewals, 1);
  await timers.advance(1_000);
  assert.equal(store.renewals, 2);
  store.failure = undefined;
  await timers.advance(1_000);
  assert.equal(store.renewals, 3);
  assert.equal(keeper.own!.key, key);
  assert.equal(keeper.own!.attributes, MOVED);
  await timers.advance(60_000);
  assert.equal(store.renewals, 3);
  keeper.update(NETWORK, { ...MOVED });
  await settle();
  assert.equal(store.renewals, 3, "nothing new");
  assert.deepEqual(given, [key]);
});

test("W45 what the watch says meanwhile of the old attributes and then of the new is no other host", async (t) => {
  const { store, keeper, log } = start(t);
  await settle();
  keeper.update(NETWORK, MOVED);
  keeper.observe(seen(keeper.own!)); // late news
  await settle();
  keeper.observe(seen(keeper.own!, MOVED));
  await settle();
  assert.equal(keeper.problem, undefined);
  assert.equal(store.acquisitions, 1);
  assert.ok(!log.some((line) => line.startsWith("W")), log.join("\n"));
  keeper.observe(seen(keeper.own!)); // by now this is another host
  await settle();
  assert.equal(store.acquisitions, 2);
  assert.deepEqual((store.requests.at(-1) as AcquireRequest).attributes, MOVED);
});

test("W45 of two hosts with one address, the one that gets another leaves the lease to the other", async (t) => {
  const { store, keeper } = start(t);
  await settle();
  keeper.observe(seen(keeper.own!, { backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:99" } }));
  assert.match(keeper.problem!, /another host uses this host's public IP/);
  store.next = 2;
  keeper.update(NETWORK, MOVED);
  await settle();
  assert.equal(keeper.problem, undefined);
  assert.equal(keeper.own!.key, "10.5.2.0-24");
  assert.equal(store.renewals, 0);
});

test("a lease is taken by the network config of the time", async (t) => {
  const other = parseNetworkConfig('{"Network":"10.5.0.0/16","SubnetMin":"10.5.200.0"}');
  const { store, keeper, timers } = start(t, (store) => {
    store.failure = unavailable;
  });
  await settle();
  keeper.update(other, MINE);
  store.failure = undefined;
  await timers.advance(1_000);
  assert.equal((store.requests.at(-1) as AcquireRequest).network, other);
});

test("a rival in IPv6 only is a rival too", async (t) => {
  const { keeper } = start(t);
  await settle();
  keeper.observe(seen(keeper.own!, { backendV6Data: { VNI: 1, VtepMAC: "02:00:00:00:00:66" } }));
  assert.match(keeper.problem!, /another host uses this host's public IP/);
});

test("F1 evidence of an earlier run counts for the first lease only", async (t) => {
  const timers = new FakeTimers();
  const store = new ScriptedLeaseStore(timers);
  const keeper = new LeaseKeeper({
    ...{ store, network: NETWORK, attributes: MINE, previous: undefined, renewMarginMs: HOUR_MS, timers },
    identity: { isKept: true, isInUse: async () => false },
    usedPrefixes: () => [],
    logger: { info() {}, warn() {}, error() {}, debug() {} },
    wallClockMs: () => store.wallClockMs(),
    onSubnets() {},
  });
  const stop = new AbortController();
  t.after(() => stop.abort());
  const own = await keeper.acquire(stop.signal);
  keeper.observe(undefined);
  await keeper.acquire(stop.signal);
  assert.ok(own !== undefined);
  assert.deepEqual(
    store.requests.map((request) => request !== "renew" && request.identity !== undefined),
    [true, false],
  );
});
