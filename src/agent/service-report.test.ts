import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import { AgentEvents } from "./events.ts";
import { Readiness } from "./readiness.ts";
import { ServiceReport } from "./service-report.ts";

const PASS = { type: "pass", pass: { tookMs: 1, tried: [], done: [] } } as const;

function bed(watchdogMs?: number) {
  const timers = new FakeTimers();
  const readiness = new Readiness();
  const sent: string[] = [];
  const state = { outages: [] as string[], peers: 0 };
  const report = new ServiceReport({
    notify: (text) => void sent.push(text),
    notes: () => state.outages,
    ...{ readiness, timers, watchdogMs },
  });
  const events = new AgentEvents();
  const attach = () =>
    report.attach({
      events,
      keeper: { own: { subnets: { ipv4: parsePrefix("10.5.3.0/24"), ipv6: undefined } } },
      follower: { peers: () => new Array(state.peers) },
    } as unknown as Parameters<ServiceReport["attach"]>[0]);
  const statuses = () => sent.filter((text) => text.startsWith("STATUS="));
  const keepAlives = () => sent.filter((text) => text === "WATCHDOG=1").length;
  return { timers, readiness, sent, state, report, events, attach, statuses, keepAlives };
}

test("STATUS: why it is not ready, then subnet, peers and problems; at most one line in two seconds", async () => {
  const { timers, readiness, state, events, attach, statuses } = bed();
  readiness.set("network config", "there is none");
  readiness.set("lease", "pending");
  await timers.advance(0);
  assert.deepEqual(statuses(), ["STATUS=Not ready: network config: there is none (and 1 more)"]);
  readiness.set("network config", undefined);
  readiness.set("lease", undefined);
  attach();
  state.peers = 1;
  await timers.advance(1_900);
  assert.equal(statuses().length, 1);
  await timers.advance(200);
  assert.equal(statuses().at(-1), "STATUS=Ready: 10.5.3.0/24, 1 peer");
  state.peers = 12;
  state.outages = ["etcd is down\nsince 10:15"];
  readiness.addNotes(() => ["10.5.9.0/24: no answer"]);
  for (let index = 0; index < 50; index++) events.emit({ type: "peers" });
  await timers.advance(2_000);
  assert.equal(statuses().length, 3);
  assert.match(
    statuses().at(-1)!,
    /^STATUS=Ready: 10\.5\.3\.0\/24, 12 peers, 2 problems: etcd is down\S+since 10:15$/,
  );
  events.emit({ type: "peers" });
  await timers.advance(10_000);
  assert.equal(statuses().length, 3, "nothing new");
});

test("a long reason is cut, and its end says how many more there are", async () => {
  const { timers, readiness, statuses } = bed();
  readiness.set("kernel", "x".repeat(500));
  readiness.set("lease", "pending");
  await timers.advance(0);
  assert.equal(statuses()[0]!.length, "STATUS=".length + 300);
  assert.match(statuses()[0]!, /x… \(and 1 more\)$/);
});

test("keep-alives come three times a period while the reconciler finishes passes, and stop when it does not", async () => {
  const { timers, events, attach, keepAlives } = bed(60_000);
  await timers.advance(600_000);
  assert.equal(keepAlives(), 31, "it waits for the datastore: nothing to reconcile yet");
  attach();
  for (let minute = 0; minute < 5; minute++) {
    events.emit(PASS);
    await timers.advance(60_000);
  }
  assert.equal(keepAlives(), 46);
  await timers.advance(600_000);
  const stalled = keepAlives();
  assert.ok(stalled <= 46 + 6, String(stalled));
  events.emit(PASS);
  await timers.advance(60_000);
  assert.equal(keepAlives(), stalled + 3);
});

test("no keep-alives without a watchdog; after STOPPING=1 comes nothing; a failing socket does no harm", async () => {
  const { timers, sent, report, events, attach } = bed();
  attach();
  await timers.advance(100_000);
  assert.ok(!sent.includes("WATCHDOG=1"));
  report.stopping();
  events.emit(PASS);
  await timers.advance(100_000);
  assert.equal(sent.at(-1), "STOPPING=1\nSTATUS=Stopping");
  using failing = new ServiceReport({
    notify() {
      throw new Error("no listener");
    },
    ...{ notes: () => [], readiness: new Readiness(), timers, watchdogMs: 10 },
  });
  await timers.advance(1_000);
  failing.stopping();
});
