/** Unit tests of the provider of cloud routes, behind a reconciler, on a cloud in memory. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import type { CloudRouteEntry } from "../state/kinds/cloud-route.ts";
import { describeObject } from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";
import { Reconciler, type Repair } from "../state/reconciler.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import { MemoryCloud } from "../testing/memory-cloud.ts";
import { stateOf } from "../testing/sample-objects.ts";
import { CloudError } from "./cloud.ts";
import { CloudRouteProvider } from "./cloud-route-provider.ts";

const OWNERSHIP: Ownership = { devices: new Set(), networks: [parsePrefix("10.5.0.0/16")!] };

const routeOf = (number: number, changes: Partial<CloudRouteEntry> = {}): CloudRouteEntry => ({
  ...{ kind: "cloud-route", cloud: "aws-vpc", table: "", destination: `10.5.${number}.0/24` },
  ...{ target: `192.0.2.${number}`, accessKeyId: "", ...changes },
});

/** Host `number`, with its route desired, until the test ends. */
function startHost(
  t: TestContext,
  cloud: MemoryCloud,
  number = 1,
  timers = new FakeTimers(),
  random = () => 0.5,
) {
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger = { info: note("I"), warn: note("W"), error: note("E"), debug() {} };
  const stop = new AbortController();
  const provider = new CloudRouteProvider({
    open: async () => cloud.client(`eni-${number}`),
    accessKeyOf: () => undefined,
    ...{ logger, timers, random, resyncMs: 60_000, signal: stop.signal },
  });
  const repairs: Repair[] = [];
  const reconciler = new Reconciler({
    providers: [provider],
    ...{ logger, timers, resyncIntervalMs: 60_000, onRepair: (repair: Repair) => repairs.push(repair) },
  });
  const running = reconciler.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
  });
  const desire = (...routes: readonly CloudRouteEntry[]) =>
    reconciler.setTarget({ state: stateOf(routes), ownership: OWNERSHIP, keepOthers: false });
  desire(routeOf(number));
  return {
    ...{ cloud, timers, log, provider, reconciler, repairs, desire },
    status: () => reconciler.status,
    repaired: () =>
      repairs.flatMap(({ operations }) =>
        operations.map(({ action, object }) => `${action} ${describeObject(object)}`),
      ),
  };
}

const tableOf = ({ routes }: MemoryCloud) =>
  Object.fromEntries([...routes].map(([destination, { target }]) => [destination, target]));

test("a start creates the route with four calls, and lists it once a minute", async (t) => {
  const cloud = new MemoryCloud();
  const { timers, log, status } = startHost(t, cloud);
  await timers.advance(1_000);
  assert.deepEqual(status().problems, []);
  assert.equal(status().converged, true);
  assert.deepEqual(cloud.calls, ["identify", "prepare", "list", "create"]);
  assert.deepEqual(tableOf(cloud), { "10.5.1.0/24": "eni-1" });
  assert.deepEqual(log, [
    "I This host in the cloud: instance i-eni-1, routes to eni-1, table rtb-1",
    "I Created route 10.5.1.0/24 to eni-1 in route table rtb-1",
  ]);
  cloud.calls.length = 0;
  await timers.advance(300_000);
  assert.deepEqual(cloud.calls, ["list", "list", "list", "list"]);
});

test("a route that exists already is only listed", async (t) => {
  const cloud = new MemoryCloud();
  cloud.routes.set("10.5.1.0/24", { target: "eni-1", isBlackhole: false });
  const { timers, status } = startHost(t, cloud);
  await timers.advance(1_000);
  assert.equal(status().converged, true);
  assert.deepEqual(cloud.calls, ["identify", "prepare", "list"]);
});

test("a foreign route for the own subnet is replaced, and logged", async (t) => {
  const cloud = new MemoryCloud();
  cloud.routes.set("10.5.1.0/24", { target: "eni-9", isBlackhole: false });
  const { timers, log } = startHost(t, cloud);
  await timers.advance(1_000);
  assert.deepEqual(tableOf(cloud), { "10.5.1.0/24": "eni-1" });
  assert.ok(
    log.includes("W Replaced foreign route 10.5.1.0/24 to eni-9 in route table rtb-1; it leads to eni-1 now"),
  );
});

test("blackholes and own stale routes within the network are removed; routes of other hosts stay", async (t) => {
  const cloud = new MemoryCloud();
  const route = (destination: string, target: string, isBlackhole = false) =>
    cloud.routes.set(destination, { target, isBlackhole });
  route("10.5.7.0/24", "eni-7", true);
  route("10.5.8.0/24", "eni-8");
  route("10.5.9.0/24", "eni-1");
  route("10.6.7.0/24", "eni-7", true);
  route("0.0.0.0/0", "igw-1");
  const { timers, log, status } = startHost(t, cloud);
  await timers.advance(2_000);
  assert.equal(status().converged, true);
  assert.deepEqual(tableOf(cloud), {
    ...{ "0.0.0.0/0": "igw-1", "10.5.1.0/24": "eni-1", "10.5.8.0/24": "eni-8", "10.6.7.0/24": "eni-7" },
  });
  assert.ok(
    log.includes("I Deleted route 10.5.7.0/24 to eni-7, whose target no longer exists in route table rtb-1"),
  );
  assert.ok(cloud.calls.length <= 8, cloud.calls.join());
});

test("a route deleted by hand is back within the timer, and recorded as drift", async (t) => {
  const cloud = new MemoryCloud();
  const { timers, repaired } = startHost(t, cloud);
  await timers.advance(100_000);
  cloud.routes.clear();
  await timers.advance(76_000);
  assert.deepEqual(tableOf(cloud), { "10.5.1.0/24": "eni-1" });
  assert.deepEqual(repaired(), ["create cloud-route 10.5.1.0/24 to 192.0.2.1 in aws-vpc table of this host"]);
});

test("a route that another program leads elsewhere is replaced, and recorded as drift, although the API is slow", async (t) => {
  const cloud = new MemoryCloud();
  const { timers, repaired } = startHost(t, cloud);
  await timers.advance(100_000);
  cloud.onCall = () => new Promise((resolve) => void timers.after(2_000, resolve));
  cloud.routes.set("10.5.1.0/24", { target: "eni-9", isBlackhole: false });
  await timers.advance(90_000);
  assert.deepEqual(tableOf(cloud), { "10.5.1.0/24": "eni-1" });
  assert.deepEqual(repaired(), [
    "replace cloud-route 10.5.1.0/24 to 192.0.2.1 in aws-vpc table of this host",
  ]);
});

test("an API that hangs never delays a pass, and its answer is taken when it comes", async (t) => {
  const cloud = new MemoryCloud();
  const timers = new FakeTimers();
  cloud.onCall = () => new Promise((resolve) => void timers.after(10_000, resolve));
  const { status } = startHost(t, cloud, 1, timers);
  await timers.advance(1_000);
  assert.ok(status().passes >= 1);
  assert.match(status().problems.join(), /the cloud has not answered yet/);
  await timers.advance(60_000);
  assert.equal(status().converged, true);
  assert.deepEqual(cloud.calls.slice(0, 4), ["identify", "prepare", "list", "create"]);
});

test("a missing permission is reported once, with its name, and retried at growing intervals", async (t) => {
  const cloud = new MemoryCloud();
  const denied = new CloudError("PERMISSION", "not permitted: ec2:CreateRoute", {
    permission: "ec2:CreateRoute",
  });
  cloud.failures.set("create", denied);
  const { timers, log, status } = startHost(t, cloud);
  await timers.advance(600_000);
  assert.deepEqual(
    log.filter((line) => line.startsWith("E")),
    [
      "E Failed to create cloud-route 10.5.1.0/24 to 192.0.2.1 in aws-vpc table of this host: not permitted: ec2:CreateRoute",
    ],
  );
  const tries = cloud.calls.filter((name) => name === "create").length;
  assert.ok(tries >= 10 && tries <= 25, `${tries} tries in 10 minutes`);
  assert.equal(status().converged, false);
  cloud.failures.clear();
  await timers.advance(61_000);
  assert.equal(status().converged, true);
});

test("Retry-After is obeyed", async (t) => {
  const cloud = new MemoryCloud();
  cloud.failures.set("list", new CloudError("RATE_LIMITED", "slow down", { retryAfterMs: 40_000 }));
  const { timers, status } = startHost(t, cloud);
  await timers.advance(1_000);
  cloud.failures.clear();
  const count = cloud.calls.length;
  await timers.advance(38_000);
  assert.equal(cloud.calls.length, count);
  await timers.advance(15_000);
  assert.equal(status().converged, true);
});

test("a listing that fails later leaves the host converged, with a note", async (t) => {
  const cloud = new MemoryCloud();
  const { timers, log, status, provider } = startHost(t, cloud);
  await timers.advance(1_000);
  cloud.failures.set(
    "list",
    new CloudError("UNAVAILABLE", "ec2.example is unavailable: no answer within 15 s"),
  );
  await timers.advance(200_000);
  assert.equal(status().converged, true);
  assert.deepEqual(provider.notes, [
    "cloud routes are not checked: ec2.example is unavailable: no answer within 15 s",
  ]);
  assert.equal(log.filter((line) => line.startsWith("W Failed to check cloud routes; retrying:")).length, 2);
  cloud.failures.clear();
  await timers.advance(80_000);
  assert.deepEqual(provider.notes, []);
});

test("a warning of the cloud is logged once and stays a note", async (t) => {
  const cloud = new MemoryCloud();
  cloud.warnings = ["source/destination check is on: not permitted: ec2:ModifyNetworkInterfaceAttribute"];
  const { timers, log, provider, status } = startHost(t, cloud);
  await timers.advance(1_000);
  assert.equal(status().converged, true);
  assert.deepEqual(provider.notes, cloud.warnings);
  assert.equal(log.filter((line) => line.startsWith("W")).length, 1);
});

test("a replaced table is followed", async (t) => {
  const cloud = new MemoryCloud();
  const { timers, log } = startHost(t, cloud);
  await timers.advance(100_000);
  cloud.table = "rtb-2";
  cloud.routes.clear();
  await timers.advance(80_000);
  assert.deepEqual(tableOf(cloud), { "10.5.1.0/24": "eni-1" });
  assert.ok(log.some((line) => line.endsWith("routes to eni-1, table rtb-2")));
});

test("a host whose interface was replaced is identified again", async (t) => {
  const cloud = new MemoryCloud();
  cloud.failures.set("create", new CloudError("NOT_FOUND", "there is no eni-1"));
  const { timers, status } = startHost(t, cloud);
  await timers.advance(10_000);
  cloud.failures.clear();
  await timers.advance(60_000);
  assert.equal(status().converged, true);
  assert.ok(cloud.calls.filter((name) => name === "identify").length >= 2);
});

test("a listing that does not show a new route yet leads to no second one", async (t) => {
  const cloud = new MemoryCloud();
  const { timers, desire, status } = startHost(t, cloud);
  await timers.advance(1_000);
  cloud.isListingStale = true;
  desire(routeOf(1), routeOf(3, { target: "192.0.2.1" }));
  await timers.advance(20_000);
  assert.equal(status().converged, true);
  assert.equal(cloud.calls.filter((name) => name === "create").length, 2);
});

test("a lost lease's route is removed, also one that was created just now", async (t) => {
  const cloud = new MemoryCloud();
  const { timers, desire, status } = startHost(t, cloud);
  await timers.advance(1_000);
  desire(routeOf(4, { target: "192.0.2.1" }));
  await timers.advance(5_000);
  assert.equal(status().converged, true);
  assert.deepEqual(tableOf(cloud), { "10.5.4.0/24": "eni-1" });
});

test("without a cloud route nothing is opened or called", async (t) => {
  const cloud = new MemoryCloud();
  const host = startHost(t, cloud);
  host.desire();
  await host.timers.advance(600_000);
  assert.deepEqual(cloud.calls, []);
});

test("100 hosts that start at once against 20 requests a second all converge, and none starves", async (t) => {
  const cloud = new MemoryCloud();
  const timers = new FakeTimers();
  let tokens = 20;
  let filledAtMs = 0;
  let refused = 0;
  cloud.onCall = () => {
    const nowMs = timers.nowMs();
    tokens = Math.min(20, tokens + ((nowMs - filledAtMs) * 20) / 1000);
    filledAtMs = nowMs;
    if (tokens < 1) {
      refused++;
      throw new CloudError("RATE_LIMITED", "request limit exceeded");
    }
    tokens--;
  };
  let seed = 1;
  const random = () => {
    seed = (seed * 48271) % 2147483647;
    return seed / 2147483647;
  };
  const hosts = Array.from({ length: 100 }, (_, index) => startHost(t, cloud, index + 1, timers, random));
  let seconds = 0;
  while (seconds < 600 && !hosts.every(({ status }) => status().converged)) {
    await timers.advance(5_000);
    seconds += 5;
  }
  assert.equal(cloud.routes.size, 100);
  assert.equal(cloud.overlaps, 0);
  t.diagnostic(`converged after ${seconds} s: ${cloud.calls.length} calls, ${refused} of them refused`);
  assert.ok(seconds <= 180, `${seconds} s`);
});
