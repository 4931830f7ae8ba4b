import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { hostname } from "node:os";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { reachable } from "../../test/support/fake-cluster.ts";
import { get, open, type Question, route, startStatusServer } from "../../test/support/status-bed.ts";
import { until } from "../../test/support/until.ts";
import { ENDPOINTS } from "./api.ts";
import type { JsonSchema } from "./schema.ts";
import type { StatusServer } from "./status-server.ts";

const QUERIES: Readonly<Record<string, string>> = {
  "/v1/path": "?to=10.5.2.7",
  "/v1/probes": "?worst=1",
  "/v1/routes": "?probes=false",
};

test("each answer matches the schema in the OpenAPI document", async () => {
  await using server = await startStatusServer();
  const document = JSON.parse((await get(server, "/v1/openapi.json")).body);
  assert.equal(document.openapi, "3.1.0");
  const paths = [
    "/v1/status",
    "/v1/routes",
    "/v1/peers",
    "/v1/peers/{key}",
    "/v1/plan",
    "/v1/probes",
    "/v1/matrix",
    "/v1/path",
    "/v1/drift",
  ] as const;
  for (const path of paths) {
    const { status, body, headers } = await get(
      server,
      path.replace("{key}", "10.5.2.0%2F24") + (QUERIES[path] ?? ""),
    );
    assert.equal(status, 200, path);
    assert.match(headers["content-type"]!, /^application\/json/);
    const { $ref } = document.paths[path].get.responses[200].content["application/json"].schema;
    assert.equal(
      fault(JSON.parse(body), document.components.schemas[$ref.split("/").at(-1)]),
      undefined,
      path,
    );
  }
  const listed = (await get(server, "/")).body.match(/^\/\S+/gm)!;
  assert.deepEqual(
    listed.toSorted(),
    [...Object.keys(document.paths).filter((path) => path !== "/"), "/v1/openapi.json"].toSorted(),
  );
});

test("the flight recorder is given out by a server that may, in pieces, and is documented there only", async () => {
  let taken = 0;
  const pieces = function* () {
    for (; taken < 40_000; taken++) yield `${"x".repeat(999)}\n`;
  };
  await using server = await startStatusServer({}, pieces);
  const head = await get(server, "/v1/recorder", { method: "HEAD" });
  assert.deepEqual([head.status, head.body, taken], [200, "", 0]);
  const slow = await open(server, "/v1/recorder");
  slow.pause();
  await until(() => taken > 0, "the first piece");
  await until(async () => {
    const before = taken;
    await new Promise((resolve) => setTimeout(resolve, 50));
    return taken === before;
  }, "the pieces to wait for the client");
  assert.ok(taken < 40_000, "a client that does not read has no whole copy in memory");
  assert.equal((await text(slow)).length, 40_000_000);
  assert.match(slow.headers["content-type"]!, /^application\/x-ndjson/);
  const pathsOf = async (from: StatusServer) =>
    Object.keys(JSON.parse((await get(from, "/v1/openapi.json")).body).paths);
  assert.ok((await pathsOf(server)).includes("/v1/recorder"));
  assert.match((await get(server, "/")).body, /^\/v1\/recorder$/m);

  await using other = await startStatusServer();
  const refused = await get(other, "/v1/recorder");
  assert.equal(refused.status, 404);
  assert.ok(!refused.body.includes("recorder"));
  assert.ok(!(await pathsOf(other)).includes("/v1/recorder"));
});

test("the check of schemas finds faults", () => {
  const { json } = ENDPOINTS["/v1/routes"].schema;
  assert.match(fault([{ ...route(1), state: "lost" }], json)!, /state/);
  assert.match(fault([{ ...route(1), more: 1 }], json)!, /more/);
  assert.match(fault([{ subnet: "10.5.1.0/24" }], json)!, /peer/);
});

test("what is not known yet is 503 with the reason", async () => {
  await using server = await startStatusServer({ routes: () => undefined, peers: () => undefined });
  for (const path of ["/v1/routes", "/v1/peers", "/v1/lease"]) {
    const { status, body } = await get(server, path);
    assert.deepEqual([status, body], [503, "not known yet\nlease: no lease yet\n"], path);
  }
});

test("a peer by lease key or by subnet; unknown, malformed and hostile names are 404", async () => {
  await using server = await startStatusServer();
  for (const name of ["10.5.2.0-24", "10.5.2.0%2F24", "10%2e5.2.0-24?x=1"])
    assert.equal(JSON.parse((await get(server, `/v1/peers/${name}`)).body).key, "10.5.2.0-24", name);
  for (const name of [
    "10.5.9.0%2F24",
    "10.5.2.0/24",
    "%zz",
    "%ff",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "a/b/",
    "__proto__",
  ]) {
    const { status, body, headers } = await get(server, `/v1/peers/${name}`);
    assert.equal(status, 404, name);
    assert.match(headers["content-type"]!, /^text\/plain/);
    assert.doesNotMatch(body, /passwd/);
  }
  assert.equal((await get(server, "/v1/peers/")).status, 404);
});

test("an unknown path is answered with the list of paths", async () => {
  await using server = await startStatusServer();
  const { status, body, headers } = await get(server, "/v1/nothing");
  assert.equal(status, 404);
  assert.match(headers["content-type"]!, /^text\/plain/);
  for (const path of Object.keys(ENDPOINTS)) assert.ok(body.split("\n").includes(path), path);
});

test("malformed parameters are 400, and a path to no peer is 404", async () => {
  await using server = await startStatusServer();
  const statusOf = async (path: string) => (await get(server, path)).status;
  for (const query of [
    "/v1/routes?probes=no",
    "/v1/probes?worst=0",
    "/v1/probes?worst=-1",
    "/v1/probes?worst=1e9",
  ])
    assert.equal(await statusOf(query), 400, query);
  for (const query of ["/v1/path", "/v1/path?to=", "/v1/path?to=10.5.9.1", "/v1/path?to=%00"])
    assert.equal(await statusOf(query), 404, query);
});

test("routes without probes are those with probes, without them", async () => {
  const probe = reachable(1);
  await using server = await startStatusServer({ routes: () => [{ ...route(1), probe }] });
  assert.deepEqual(JSON.parse((await get(server, "/v1/routes")).body)[0].probe, probe);
  assert.deepEqual(JSON.parse((await get(server, "/v1/routes?probes=false")).body), [route(1)]);
});

test("metrics are text in Prometheus' format", async () => {
  await using server = await startStatusServer();
  const { body, headers } = await get(server, "/metrics");
  assert.match(headers["content-type"]!, /^text\/plain; version=0\.0\.4/);
  assert.equal(body, "# HELP flannel_ready Ready.\n# TYPE flannel_ready gauge\nflannel_ready 1\n");
});

test("foreign Host and Origin headers, other methods and paths are refused", async () => {
  await using server = await startStatusServer();
  const statusOf = async (path: string, question?: Question) => (await get(server, path, question)).status;
  for (const Host of ["evil.example", "evil.example:7000", "localhost.evil.example"])
    assert.equal(await statusOf("/v1/status", { headers: { Host } }), 403, Host);
  for (const Host of ["10.0.0.1:7000", "localhost", hostname()])
    assert.equal(await statusOf("/v1/status", { headers: { Host } }), 200, Host);
  for (const Origin of ["http://evil.example", "null", "http://127.0.0.1.evil.example", "x"])
    assert.equal(await statusOf("/metrics", { headers: { Origin } }), 403, Origin);
  assert.equal(await statusOf("/metrics", { headers: { Origin: "http://127.0.0.1:7000" } }), 200);
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS"])
    assert.equal(await statusOf("/v1/status", { method }), 405, method);
  for (const path of [
    "/../etc/passwd",
    "/v1/../../etc/passwd",
    "/%2e%2e/etc/passwd",
    "//",
    "/v1/status/",
    "/__proto__",
    "/constructor",
    "/v2/status",
  ])
    assert.equal(await statusOf(path), 404, path);
});

test("drift names processes, so only this host may read it", async () => {
  await using server = await startStatusServer();
  assert.equal((await get(server, "/v1/drift")).status, 200);
  assert.equal((await get(server, "/v1/drift", { from: "127.0.0.2" })).status, 403);
  assert.equal((await get(server, "/v1/routes", { from: "127.0.0.2" })).status, 200);
});

test("5,000 routes are sent in slices between which other work goes on", async () => {
  let yielded = 0;
  const tick = () => {
    yielded++;
    pending = setImmediate(tick);
  };
  let pending = setImmediate(tick);
  let seenAtFirst = 0;
  let seenAtLast = 0;
  function* routes() {
    for (let number = 0; number < 5_000; number++) {
      if (number === 0) seenAtFirst = yielded;
      seenAtLast = yielded;
      // Each takes as long as a slow host's.
      for (const end = performance.now() + 0.01; performance.now() < end; );
      yield route(number);
    }
  }
  await using server = await startStatusServer({ routes });
  const { body } = await get(server, "/v1/routes");
  clearImmediate(pending);
  assert.deepEqual(JSON.parse(body).at(-1), route(4_999));
  assert.ok(seenAtLast - seenAtFirst >= 5, `${seenAtLast - seenAtFirst} turns of the event loop`);
});

test("a client that does not read its routes delays no other, and no answer is buffered for it", async () => {
  let made = 0;
  function* routes() {
    for (;;) yield route(made++);
  }
  await using server = await startStatusServer({ routes });
  const client = connect(server.port!, "127.0.0.1");
  client.write("GET /v1/routes HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await once(client, "connect");
  client.pause();
  let before = -1;
  await until(async () => {
    const isStill = made > 0 && made === before;
    before = made;
    return isStill && (await get(server, "/v1/status")).status === 200;
  }, "the answer to wait for its reader");
  client.destroy();
});

test("a list that fails on the way is cut, not ended", async () => {
  function* routes() {
    yield route(1);
    throw new Error("no more");
  }
  await using server = await startStatusServer({ routes });
  await assert.rejects(get(server, "/v1/routes"));
  assert.equal((await get(server, "/v1/status")).status, 200);
});

test("hostile names are escaped in JSON", async () => {
  await using server = await startStatusServer();
  assert.match((await get(server, "/v1/peers")).body, /"k\\u202e"/);
});

test("HEAD has no body, also of a list and of events", async () => {
  await using server = await startStatusServer();
  for (const path of ["/", "/v1/routes", "/v1/events", "/metrics"]) {
    const { status, body } = await get(server, path, { method: "HEAD" });
    assert.deepEqual([status, body], [200, ""], path);
  }
});

/** What is wrong with a value; undefined = nothing. */
function fault(value: unknown, schema: JsonSchema, path = "$"): string | undefined {
  const wrong = `${path}: ${JSON.stringify(value)}`;
  switch (schema.type) {
    case "string":
      return typeof value !== "string" || (schema.enum !== undefined && !schema.enum.includes(value))
        ? wrong
        : undefined;
    case "boolean":
      return typeof value === "boolean" ? undefined : wrong;
    case "integer":
      return Number.isInteger(value) ? undefined : wrong;
    case "number":
      return typeof value === "number" ? undefined : wrong;
    case "array":
      return Array.isArray(value)
        ? value.map((item, index) => fault(item, schema.items!, `${path}[${index}]`)).find((each) => each)
        : wrong;
    case "object": {
      if (typeof value !== "object" || value === null) return wrong;
      const missing = schema.required?.find((name) => !Object.hasOwn(value, name));
      if (missing !== undefined) return `${path}.${missing} is missing`;
      for (const [name, member] of Object.entries(value)) {
        const expected = schema.properties?.[name] ?? (schema.additionalProperties || undefined);
        const problem =
          expected === undefined
            ? `${path}.${name} is not allowed`
            : fault(member, expected, `${path}.${name}`);
        if (problem !== undefined) return problem;
      }
      return undefined;
    }
  }
}
