/** Unit tests of the Compute Engine client, where the API or the metadata server refuses, fails, or is something else. */

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

test("a host without the metadata server, or with another server there, gets a message that says so", async () => {
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

test("a proxy of the environment is asked for the API, and never for the metadata server", async () => {
  await using bed = await start();
  const body = "<!doctype html><title>Proxy login</title>";
  await using proxy = await FakeServer.start({
    label: ({ path }) => path,
    answer: () => ({ status: 200, body }),
  });
  const environment = { ...bed.fake.environment("node-1"), HTTP_PROXY: proxy.url };
  const cloud = new GceCloud({ addresses: [] }, cloudTestPorts(environment));
  await rejects(
    cloud.identify(signal),
    "NOT_UNDERSTOOD",
    /an HTML page .*; a proxy or portal may be in between/,
  );
  assert.equal(proxy.requests.length, 1);
  assert.equal(bed.instance.metadata.requests.length, 3);
  const direct = new GceCloud({ addresses: [] }, cloudTestPorts({ ...environment, NO_PROXY: "127.0.0.1" }));
  await direct.identify(signal);
  assert.equal(proxy.requests.length, 1);
});

test("names that could not be names are refused before they reach the log", async () => {
  await using bed = await start();
  bed.instance.network = "projects/acme-prod/global/networks/a\\nE1128 forged";
  await rejects(
    bed.cloud.identify(signal),
    "NOT_UNDERSTOOD",
    /answered no instance with a network for projects\/4711/,
  );
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
