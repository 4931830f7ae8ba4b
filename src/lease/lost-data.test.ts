import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import type { Lease } from "./lease.ts";
import { createLeaseTable } from "./lease-table.ts";
import { createLeaseView } from "./lease-view.ts";
import { outliveLostData, type StoreUpdate, snapshotAfterLoss } from "./lost-data.ts";

const GRACE_MS = 60_000;

const lease = (subnet: string, publicIp: string): Lease => ({
  key: subnet.replace("/", "-"),
  subnets: { ipv4: parsePrefix(subnet), ipv6: undefined },
  attributes: {
    publicIp: parseIp(publicIp),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: undefined,
    backendV6Data: undefined,
  },
});

const ONE = lease("10.5.1.0/24", "192.168.0.1");
const TWO = lease("10.5.2.0/24", "192.168.0.2");
const THREE = lease("10.5.3.0/24", "192.168.0.3");

/** Feeds updates one by one; `keys` are those of the leases that peers see. */
function start(t: TestContext) {
  const timers = new FakeTimers();
  const log: string[] = [];
  const note = (message: string) => void log.push(message);
  const feed: StoreUpdate[] = [];
  let wake = () => {};
  let isEnded = false;
  async function* updates(): AsyncGenerator<StoreUpdate, void, undefined> {
    while (!isEnded) {
      const update = feed.shift();
      if (update !== undefined) yield update;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  }
  const table = createLeaseTable();
  const logger = { info: note, warn: note, error: note, debug: note };
  const done = (async () => {
    for await (const update of outliveLostData(updates(), GRACE_MS, { logger, timers })) table.apply(update);
  })();
  t.after(async () => {
    isEnded = true;
    wake();
    await done;
    assert.equal(timers.nextMs, undefined, "no timer is left behind");
  });
  const take = async (update: StoreUpdate) => {
    feed.push(update);
    wake();
    await settle();
  };
  const keys = () =>
    table
      .peers(undefined)
      .map(({ key }) => key)
      .sort();
  return { timers, log, take, keys };
}

const snapshot = (leases: Lease[], vanished: Lease[] = []): StoreUpdate => ({
  update: { type: "snapshot", leases },
  vanished,
});
const put = (lease: Lease): StoreUpdate => ({ update: { type: "put", lease } });

test("leases that went with the data stay for a while, and for good once they are written again", async (t) => {
  const { timers, log, take, keys } = start(t);
  await take(snapshot([ONE, TWO]));
  await take(snapshot([], [ONE, TWO]));
  assert.deepEqual(keys(), [ONE.key, TWO.key]);
  await take(put(ONE));
  await timers.advance(GRACE_MS - 1);
  assert.deepEqual(keys(), [ONE.key, TWO.key]);
  await timers.advance(1);
  assert.deepEqual(keys(), [ONE.key]);
  assert.deepEqual(log, [
    "Datastore lost leases (2); they count for 60 s more, until their hosts acquire them again",
    "Dropped leases that the datastore lost and no host acquired again (1)",
  ]);
});

test("a vanished lease goes when its host takes another subnet, or another host takes any of its addresses", async (t) => {
  const { take, keys } = start(t);
  await take(snapshot([], [ONE, TWO, THREE]));
  const moved = lease("10.5.9.0/24", "192.168.0.1");
  const wider = lease("10.5.2.0/23", "192.168.0.9");
  await take(put(moved));
  assert.deepEqual(keys(), [TWO.key, THREE.key, moved.key]);
  await take(put(wider));
  assert.deepEqual(keys(), [wider.key, moved.key].sort());
});

test("in a snapshot too, which may come again meanwhile", async (t) => {
  const { timers, take, keys } = start(t);
  await take(snapshot([], [ONE, TWO, THREE]));
  const other = lease("10.5.1.0/24", "192.168.0.7");
  await take(snapshot([other]));
  assert.deepEqual(keys(), [ONE.key, TWO.key, THREE.key]);
  await take(snapshot([other], [other]));
  await timers.advance(GRACE_MS);
  assert.deepEqual(keys(), [other.key]);
});

test("what is deleted meanwhile is gone at once", async (t) => {
  const { take, keys } = start(t);
  await take(snapshot([], [ONE]));
  await take(put(ONE));
  await take({ update: { type: "delete", key: ONE.key } });
  assert.deepEqual(keys(), []);
});

test("the own lease is not spared: its holder has to know", () => {
  const logger = { info() {}, warn() {}, error() {}, debug() {} };
  const view = createLeaseView("the test", logger);
  view.snapshot([ONE, TWO, THREE].map((each) => [each.key, each]));
  const { update, vanished } = snapshotAfterLoss(view, [[THREE.key, THREE]], ONE.key);
  assert.deepEqual(vanished, [TWO]);
  assert.deepEqual(update, { type: "snapshot", leases: [THREE] });
});
