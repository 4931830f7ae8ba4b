/** Unit tests of the Compute Engine client, against a fake of the API and of the metadata server over HTTP. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { FakeGce } from "../../testing/cloud-gce.ts";
import { cloudTestPorts, rejects, neverAborted as signal } from "../../testing/cloud-test-ports.ts";
import type { CloudHost } from "../cloud.ts";
import { GceCloud, routeName } from "./gce-cloud.ts";

const NETWORKS = [parsePrefix("10.5.0.0/16")!];
const DESTINATION = "10.5.72.0/24";

/** A cloud with instance node-1, and node-1's client. */
async function start() {
  const fake = await FakeGce.start();
  const instance = await fake.addInstance("node-1", "10.132.0.11");
  const ports = cloudTestPorts(fake.environment("node-1"));
  fake.nowMs = ports.timers.nowMs;
  const cloud = new GceCloud({ addresses: [instance.ip] }, ports);
  return {
    ...{ fake, instance, cloud, ports },
    place: (host: CloudHost) => ({ table: host.tables[0]!, destination: DESTINATION }),
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

test("routes are named as Go flannel names them", () => {
  assert.equal(routeName("10.5.72.0/24"), "flannel-10-5-72-0-24");
});

test("a start makes one route in eight requests, four of them to the API", async () => {
  await using bed = await start();
  const { cloud, fake, instance } = bed;
  fake.operations.polls = 0;
  const host = await cloud.identify(signal);
  assert.deepEqual(host, {
    instance: "node-1",
    target: "projects/acme-prod/zones/europe-west1-b/instances/node-1",
    tables: ["projects/acme-prod/global/networks/default"],
  });
  assert.deepEqual(await cloud.prepare(host, signal), []);
  assert.deepEqual(await cloud.list(host, NETWORKS, signal), []);
  await cloud.create(host, bed.place(host), signal);
  assert.deepEqual(fake.table, [`${DESTINATION} node-1`]);
  const route = fake.routes.get("flannel-10-5-72-0-24")!;
  assert.equal(route.priority, 1000);
  assert.deepEqual(fake.server.requests, ["GET instances", "GET routes", "POST routes", "POST operations"]);
  assert.equal(instance.metadata.requests.length, 4);
  const [listed] = await cloud.list(host, NETWORKS, signal);
  assert.deepEqual(listed, {
    ...{ table: host.tables[0], destination: DESTINATION, id: "flannel-10-5-72-0-24" },
    ...{ target: host.target, isOwn: true, isBlackhole: false },
  });
});

test("an idle host asks for its routes only: no token, no metadata", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  const before = bed.fake.server.requests.length + bed.instance.metadata.requests.length;
  for (let pass = 0; pass < 5; pass++) await bed.cloud.list(host, NETWORKS, signal);
  assert.equal(bed.fake.server.requests.length + bed.instance.metadata.requests.length - before, 5);
});

test("an operation is awaited until it is done, though wait returns early", async () => {
  await using bed = await start();
  bed.fake.operations.polls = 3;
  const host = await bed.cloud.identify(signal);
  await bed.cloud.create(host, bed.place(host), signal);
  assert.equal(bed.fake.server.count("POST operations"), 4);
  assert.equal(bed.fake.routes.size, 1);
});

test("an operation that never ends is given up, and one that fails says why", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  bed.fake.operations.polls = Number.POSITIVE_INFINITY;
  const endless = rejects(
    bed.cloud.create(host, bed.place(host), signal),
    "UNAVAILABLE",
    /not end within 180 s/,
  );
  while (bed.fake.server.count("POST operations") === 0) await new Promise(setImmediate);
  bed.ports.timers.skipMs += 180_000;
  await endless;
  bed.fake.operations.polls = 0;
  for (const [code, meaning] of [
    ["QUOTA_EXCEEDED", "LIMIT_REACHED"],
    ["RESOURCE_NOT_READY", "CONFLICT"],
    ["INTERNAL_ERROR", "UNAVAILABLE"],
    ["SOMETHING_NEW", "REFUSED"],
  ] as const) {
    bed.fake.operations.errors.push([code, "It went wrong."]);
    const attempt = bed.cloud.create(host, bed.place(host), signal);
    await rejects(attempt, meaning, new RegExp(`operation of routes.insert failed: ${code}: It went wrong`));
  }
  assert.equal(bed.fake.routes.size, 0);
});

test("a foreign route for the subnet is seen and replaced, whatever its name and next hop", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  await fake.addInstance("node-2", "10.132.0.12");
  const host = await cloud.identify(signal);
  fake.addRoute({ name: "by-hand", destRange: DESTINATION, nextHopIp: "10.132.0.99", priority: 900 });
  const [previous] = await cloud.list(host, NETWORKS, signal);
  assert.equal(previous!.target, "nextHopIp 10.132.0.99");
  assert.equal(previous!.isOwn, false);
  await cloud.replace(host, previous!, signal);
  assert.deepEqual(fake.table, [`${DESTINATION} node-1`]);
  fake.routes.clear();
  const nextHopInstance = fake.instancePath("node-2");
  fake.addRoute({ name: "flannel-10-5-72-0-24", destRange: DESTINATION, nextHopInstance });
  const [conflicting] = await cloud.list(host, NETWORKS, signal);
  assert.equal(conflicting!.target, nextHopInstance);
  await cloud.replace(host, conflicting!, signal);
  assert.deepEqual(fake.table, [`${DESTINATION} node-1`]);
});

test("a foreign route beside ours is replaced, and its name alone makes one foreign", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  await cloud.create(host, bed.place(host), signal);
  const nextHopInstance = host.target;
  for (const name of ["before-ours", "zz-after-ours"]) {
    fake.addRoute({ name, destRange: DESTINATION, nextHopInstance });
    const [foreign, ...more] = await cloud.list(host, NETWORKS, signal);
    assert.deepEqual([foreign!.id, foreign!.isOwn, more], [name, false, []]);
    await cloud.replace(host, foreign!, signal);
    assert.deepEqual([...fake.routes.keys()], ["flannel-10-5-72-0-24"]);
  }
});

test("only what concerns the network is listed, over all pages", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  fake.pageSize = 7;
  const host = await cloud.identify(signal);
  const nextHopInstance = host.target;
  for (let third = 0; third < 20; third++)
    fake.addRoute({
      name: routeName(`10.5.${third}.0/24`),
      destRange: `10.5.${third}.0/24`,
      nextHopInstance,
    });
  fake.addRoute({ name: "default", destRange: "0.0.0.0/0" });
  fake.addRoute({ name: "ipv6", destRange: "fd00::/64" });
  fake.addRoute({ name: "tagged", destRange: "10.5.30.0/24", tags: ["web"] });
  fake.addRoute({ name: "fallback", destRange: "10.5.31.0/24", priority: 1001 });
  const network = "projects/acme-prod/global/networks/other";
  fake.addRoute({ name: "other-network", destRange: "10.5.32.0/24", network });
  const routes = await cloud.list(host, NETWORKS, signal);
  assert.equal(routes.length, 20);
  assert.ok(routes.every(({ isOwn }) => isOwn));
  assert.equal(fake.server.count("GET routes"), 4);
});

test("routes of deleted and stopped instances are blackholes, if they are flannel's", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const stopped = await fake.addInstance("stopped", "10.132.0.13");
  stopped.isRunning = false;
  await fake.addInstance("alive", "10.132.0.14");
  const host = await cloud.identify(signal);
  for (const [index, name] of ["gone", "stopped", "alive"].entries()) {
    const destRange = `10.5.${index}.0/24`;
    fake.addRoute({ name: routeName(destRange), destRange, nextHopInstance: fake.instancePath(name) });
  }
  fake.addRoute({ name: "z-by-hand", destRange: "10.5.9.0/24", nextHopInstance: fake.instancePath("gone") });
  const routes = await cloud.list(host, NETWORKS, signal);
  assert.deepEqual(
    routes.map(({ destination, isBlackhole }) => `${destination} ${isBlackhole}`),
    ["10.5.0.0/24 true", "10.5.1.0/24 true", "10.5.2.0/24 false", "10.5.9.0/24 false"],
  );
  await cloud.delete(host, routes[0]!, signal);
  assert.deepEqual(fake.table, ["10.5.1.0/24 stopped", "10.5.2.0/24 alive", "10.5.9.0/24 gone"]);
  await rejects(cloud.delete(host, routes[0]!, signal), "NOT_FOUND", /routes.delete was refused/);
});
