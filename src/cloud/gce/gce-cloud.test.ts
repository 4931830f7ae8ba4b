/** Unit tests of the Compute Engine client, against a fake of the API and of the metadata server over HTTP. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { FakeGce } from "../../testing/cloud-gce.ts";
import { FakeServer } from "../../testing/cloud-http.ts";
import {
  cloudTestPorts,
  refusalOf,
  rejects,
  neverAborted as signal,
} from "../../testing/cloud-test-ports.ts";
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
  fake.operationPolls = 0;
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
  bed.fake.operationPolls = 3;
  const host = await bed.cloud.identify(signal);
  await bed.cloud.create(host, bed.place(host), signal);
  assert.equal(bed.fake.server.count("POST operations"), 4);
  assert.equal(bed.fake.routes.size, 1);
});

test("an operation that never ends is given up, and one that fails says why", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  bed.fake.operationPolls = Number.POSITIVE_INFINITY;
  const endless = rejects(
    bed.cloud.create(host, bed.place(host), signal),
    "UNAVAILABLE",
    /not end within 180 s/,
  );
  while (bed.fake.server.count("POST operations") === 0) await new Promise(setImmediate);
  bed.ports.timers.skipMs += 180_000;
  await endless;
  bed.fake.operationPolls = 0;
  for (const [code, meaning] of [
    ["QUOTA_EXCEEDED", "LIMIT_REACHED"],
    ["RESOURCE_NOT_READY", "CONFLICT"],
    ["INTERNAL_ERROR", "UNAVAILABLE"],
    ["SOMETHING_NEW", "REFUSED"],
  ] as const) {
    bed.fake.operationErrors.push([code, "It went wrong."]);
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
  fake.addRoute({ name: "by-hand", destRange: "10.5.9.0/24", nextHopInstance: fake.instancePath("gone") });
  const routes = await cloud.list(host, NETWORKS, signal);
  assert.deepEqual(
    routes.map(({ destination, isBlackhole }) => `${destination} ${isBlackhole}`),
    ["10.5.0.0/24 true", "10.5.1.0/24 true", "10.5.2.0/24 false", "10.5.9.0/24 false"],
  );
  await cloud.delete(host, routes[0]!, signal);
  assert.deepEqual(fake.table, ["10.5.1.0/24 stopped", "10.5.2.0/24 alive", "10.5.9.0/24 gone"]);
  await rejects(cloud.delete(host, routes[0]!, signal), "NOT_FOUND", /routes.delete was refused/);
});

test("every missing permission is named", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const attempt = async (permission: string, act: (host: CloudHost) => Promise<unknown>) => {
    const host = await cloud.identify(signal);
    fake.denied.add(permission);
    const error = await refusalOf(act(host));
    fake.denied.clear();
    assert.equal(error.code, "PERMISSION");
    assert.equal(error.permission, permission);
    assert.match(error.message, new RegExp(`grant the instance's service account ${permission}$`));
  };
  const create = (host: CloudHost) => cloud.create(host, bed.place(host), signal);
  await attempt("compute.instances.get", () => cloud.identify(signal));
  await attempt("compute.routes.list", (host) => cloud.list(host, NETWORKS, signal));
  await attempt("compute.routes.create", create);
  await attempt("compute.networks.updatePolicy", create);
  await attempt("compute.instances.use", create);
  await attempt("compute.globalOperations.get", create);
  fake.addRoute({ name: "x", destRange: DESTINATION });
  await attempt("compute.routes.delete", async (host) => {
    const [route] = await cloud.list(host, NETWORKS, signal);
    await cloud.delete(host, route!, signal);
  });
});

test("a missing access scope and missing IP forwarding are explained with the command", async () => {
  await using bed = await start();
  const { cloud, fake, instance } = bed;
  instance.canIpForward = false;
  instance.scopes = ["https://www.googleapis.com/auth/compute.readonly"];
  const host = await cloud.identify(signal);
  const [forwarding, scope, ...more] = await cloud.prepare(host, signal);
  assert.match(forwarding!, /gcloud compute instances update-from-file node-1 --zone europe-west1-b /);
  assert.match(scope!, /set-service-account node-1 --zone europe-west1-b --scopes compute-rw$/);
  assert.deepEqual(more, []);
  await rejects(
    cloud.create(host, bed.place(host), signal),
    "PERMISSION",
    /routes.insert was refused: Request had insufficient authentication scopes; .* node-1 --scopes compute-rw/,
  );
  assert.equal(fake.routes.size, 0);
});

test("an address of no interface of the instance is a warning", async () => {
  await using bed = await start();
  const cloud = new GceCloud({ addresses: ["192.0.2.1"] }, bed.ports);
  const warnings = await cloud.prepare(await cloud.identify(signal), signal);
  assert.match(
    warnings[0]!,
    /^No network interface of instance node-1 has the address 192.0.2.1; .*--iface$/,
  );
});

test("the quota is named, with what to do", async () => {
  await using bed = await start();
  bed.fake.routeQuota = 0;
  const host = await bed.cloud.identify(signal);
  await rejects(
    bed.cloud.create(host, bed.place(host), signal),
    "LIMIT_REACHED",
    /Quota 'STATIC_ROUTES_PER_NETWORK' exceeded. Limit: 0.0 globally; request a higher quota .* vxlan backend/,
  );
});

test("a route that exists is EXISTS, and one of the same name in another network is explained", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  await cloud.create(host, bed.place(host), signal);
  await rejects(cloud.create(host, bed.place(host), signal), "EXISTS", /already exists/);
  fake.routes.clear();
  const network = "projects/acme-prod/global/networks/other";
  fake.addRoute({ name: routeName(DESTINATION), destRange: DESTINATION, network });
  await rejects(
    cloud.create(host, bed.place(host), signal),
    "CONFLICT",
    /"flannel-10-5-72-0-24" exists in this project, but for 10.5.72.0\/24 in network .*\/other; choose another Network/,
  );
});

test("a network of another project is refused", async () => {
  await using bed = await start();
  bed.instance.network = "projects/host-project/global/networks/shared";
  await rejects(bed.cloud.identify(signal), "CONFLICT", /Shared VPC.*use the vxlan or host-gw backend/);
});

test("a token is fetched again before it expires, and after it was refused", async () => {
  await using bed = await start();
  const { cloud, fake, instance, ports } = bed;
  const tokens = () => instance.metadata.count("instance/service-accounts/default/token");
  const host = await cloud.identify(signal);
  ports.timers.skipMs += 50 * 60_000;
  await cloud.list(host, NETWORKS, signal);
  assert.equal(tokens(), 1);
  ports.timers.skipMs += 7 * 60_000;
  await cloud.list(host, NETWORKS, signal);
  assert.equal(tokens(), 2);
  fake.revokeTokens();
  await rejects(cloud.list(host, NETWORKS, signal), "CREDENTIALS", /invalid authentication credentials/);
  await cloud.list(host, NETWORKS, signal);
  assert.equal(tokens(), 3);
});

test("while the metadata server is down, a token is used to its end", async () => {
  await using bed = await start();
  const { cloud, instance, ports } = bed;
  const host = await cloud.identify(signal);
  const headers = { "metadata-flavor": "Google" };
  instance.metadata.faults.push({ label: "token", reply: { status: 503, body: "", headers } });
  ports.timers.skipMs += 58 * 60_000;
  await cloud.list(host, NETWORKS, signal);
  ports.timers.skipMs += 3 * 60_000;
  await rejects(cloud.list(host, NETWORKS, signal), "UNAVAILABLE", /status 503/);
});

test("throttling is RATE_LIMITED with the server's wait", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  const error = { code: 403, message: "Rate Limit Exceeded", errors: [{ reason: "rateLimitExceeded" }] };
  const headers = { "retry-after": "7" };
  fake.server.faults.push({
    label: "GET routes",
    times: 1,
    reply: { status: 403, body: { error }, headers },
  });
  fake.server.faults.push({
    label: "GET routes",
    times: 1,
    reply: { status: 429, body: { error: {} }, headers },
  });
  for (let attempt = 0; attempt < 2; attempt++) {
    const refusal = await refusalOf(cloud.list(host, NETWORKS, signal));
    assert.deepEqual([refusal.code, refusal.retryAfterMs], ["RATE_LIMITED", 7_000]);
  }
});

test("HTML, silence and server errors in place of the API", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  const list = () => cloud.list(host, NETWORKS, signal);
  fake.server.faults.push({ label: "GET routes", times: 1, reply: { body: "<html>Sign in</html>" } });
  await rejects(list(), "NOT_UNDERSTOOD", /an HTML page .* HTTPS_PROXY/);
  fake.server.faults.push({
    label: "GET routes",
    times: 1,
    reply: { status: 502, body: "<html>Bad</html>" },
  });
  await rejects(list(), "UNAVAILABLE", /status 502/);
  fake.server.faults.push({ label: "GET routes", times: 1, reply: { status: 503, body: { error: {} } } });
  await rejects(list(), "UNAVAILABLE", /status 503/);
  fake.server.faults.push({ label: "GET routes", times: 1, reply: { body: [1] } });
  await rejects(list(), "NOT_UNDERSTOOD", /no JSON/);
  fake.server.faults.push({ label: "GET routes", times: 1, reply: "lost" });
  await rejects(list(), "UNAVAILABLE", /is unavailable/);
});

test("an answer that is lost after the route was made leaves the route", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  fake.server.faults.push({ label: "POST operations", times: 1, reply: "lost" });
  await rejects(cloud.create(host, bed.place(host), signal), "UNAVAILABLE", /is unavailable/);
  const [route] = await cloud.list(host, NETWORKS, signal);
  assert.equal(route!.isOwn, true);
});

test("a host without the metadata server, or with another server there, is told so", async () => {
  await using bed = await start();
  await using other = await FakeServer.start({ label: () => "any", answer: () => ({ body: "hello" }) });
  const at = (GCE_METADATA_HOST: string) =>
    new GceCloud(
      { addresses: [] },
      cloudTestPorts({ ...bed.ports.environment, GCE_METADATA_HOST } as Record<string, string>),
    );
  await rejects(at("127.0.0.1:1").identify(signal), "UNAVAILABLE", /needs the metadata server of Google/);
  await rejects(
    at(`127.0.0.1:${other.port}`).identify(signal),
    "NOT_UNDERSTOOD",
    /no header Metadata-Flavor/,
  );
  assert.throws(() => at("a b"), /GCE_METADATA_HOST must be a host name/);
});

test("a token is sent to no endpoint without encryption, and appears in no message", async () => {
  await using bed = await start();
  const insecure = { CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: "http://compute.example/v1/" };
  assert.throws(() => new GceCloud({ addresses: [] }, cloudTestPorts(insecure)), /must be an https:\/\/ URL/);
  bed.fake.revokeTokens();
  const host = await bed.cloud.identify(signal);
  bed.fake.revokeTokens();
  const error = await refusalOf(bed.cloud.list(host, NETWORKS, signal));
  assert.doesNotMatch(`${error.stack} ${JSON.stringify(error)}`, /ya29/);
});
