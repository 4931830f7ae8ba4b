import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { hostname } from "node:os";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { reachable } from "../../test/support/fake-cluster.ts";
import { until } from "../../test/support/until.ts";
import { ENDPOINTS, type PathReport, type PeerDetail, type RouteReport, type Status } from "./api.ts";
import { listen } from "./bounded-server.ts";
import { EventLog } from "./event-log.ts";
import { single } from "./metrics-text.ts";
import type { JsonSchema } from "./schema.ts";
import { StatusServer } from "./status-server.ts";
import type { StatusSource } from "./status-source.ts";

const STATUS: Status = {
  ...{ version: "v1", host: "h", startedAt: "2026-01-01T00:00:00.000Z", isReady: false },
  ...{ notReadyReasons: ["lease: no lease yet"], notes: [], datastore: "etcd key /x", networks: [] },
  ...{ peers: 0, peerProblems: 0, kernel: { objects: 0, failures: 0, passes: 0, repairs: 0 } },
};

const route = (number: number): RouteReport => ({
  subnet: `10.${number >> 8}.${number & 255}.0/24`,
  ...{ peer: `10.${number >> 8}.${number & 255}.0-24`, publicIp: "192.168.7.2", backend: "vxlan" },
  ...{ via: `10.${number >> 8}.${number & 255}.0`, device: "flannel.1", state: "programmed" },
});

const DETAIL: PeerDetail = {
  ...{ key: "10.5.2.0-24", subnets: ["10.5.2.0/24"], publicIps: ["192.168.7.2"], backend: "vxlan" },
  routes: [route(1)],
  objects: [{ kind: "route", object: "route 10.5.2.0/24", state: "programmed" }],
};

const PATH: PathReport = {
  peer: "10.5.2.0-24",
  externalInterface: { name: "eth0", mtuBytes: 1500, addresses: ["192.168.7.1"] },
  ways: [
    {
      ...{ from: "10.5.1.0/24", to: "10.5.2.0/24", publicIp: "192.168.7.2" },
      objects: [{ kind: "route", what: "route 10.5.2.0/24", state: "missing" }],
    },
  ],
};

const start = (changes: Partial<StatusSource> = {}, recording?: () => Iterable<string>) =>
  StatusServer.start(
    {
      version: "v1",
      events: new EventLog("run"),
      status: () => STATUS,
      lease: () => undefined,
      routes: () => [route(1)],
      peers: () => [{ key: "k\u202e", subnets: ["10.5.2.0/24"], publicIps: [], backend: "" }],
      peer: (name) => (name === DETAIL.key || name === DETAIL.subnets[0] ? DETAIL : "absent"),
      path: (to) => (to === "10.5.2.7" ? PATH : "absent"),
      plan: () => [{ action: "create", kind: "route", object: "route 10.5.2.0/24", reason: undefined }],
      drift: () => ({
        counts: { route: 1 },
        entries: [{ at: "2026-01-01T00:00:00.000Z", kind: "route", what: "route", tookMs: 1, by: undefined }],
      }),
      metrics: () => [single("gauge", "flannel_ready", "Ready.", 1)],
      ...changes,
    },
    (server) => listen(server, { host: "0.0.0.0", port: 0 }),
    { recording },
  );

interface Question {
  readonly headers?: Record<string, string>;
  readonly method?: string;
  readonly from?: string;
}

/** Not fetch(), which normalizes the path and forbids the Host header. */
async function open({ port }: StatusServer, path: string, { from, ...rest }: Question = {}) {
  const options = {
    host: "127.0.0.1",
    port,
    path,
    agent: false,
    ...(from && { localAddress: from }),
    ...rest,
  };
  const sent = request(options).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return response;
}

async function get(server: StatusServer, path: string, question?: Question) {
  const response = await open(server, path, question);
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

const QUERIES: Readonly<Record<string, string>> = {
  "/v1/path": "?to=10.5.2.7",
  "/v1/probes": "?worst=1",
  "/v1/routes": "?probes=false",
};

test("each answer matches the schema in the OpenAPI document", async () => {
  await using server = await start();
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
  await using server = await start({}, pieces);
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

  await using other = await start();
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
  await using server = await start({ routes: () => undefined, peers: () => undefined });
  for (const path of ["/v1/routes", "/v1/peers", "/v1/lease"]) {
    const { status, body } = await get(server, path);
    assert.deepEqual([status, body], [503, "not known yet\nlease: no lease yet\n"], path);
  }
});

test("a peer by lease key or by subnet; unknown, malformed and hostile names are 404", async () => {
  await using server = await start();
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
  await using server = await start();
  const { status, body, headers } = await get(server, "/v1/nothing");
  assert.equal(status, 404);
  assert.match(headers["content-type"]!, /^text\/plain/);
  for (const path of Object.keys(ENDPOINTS)) assert.ok(body.split("\n").includes(path), path);
});

test("malformed parameters are 400, and a path to no peer is 404", async () => {
  await using server = await start();
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
  await using server = await start({ routes: () => [{ ...route(1), probe }] });
  assert.deepEqual(JSON.parse((await get(server, "/v1/routes")).body)[0].probe, probe);
  assert.deepEqual(JSON.parse((await get(server, "/v1/routes?probes=false")).body), [route(1)]);
});

test("metrics are text in Prometheus' format", async () => {
  await using server = await start();
  const { body, headers } = await get(server, "/metrics");
  assert.match(headers["content-type"]!, /^text\/plain; version=0\.0\.4/);
  assert.equal(body, "# HELP flannel_ready Ready.\n# TYPE flannel_ready gauge\nflannel_ready 1\n");
});

test("foreign Host and Origin headers, other methods and paths are refused", async () => {
  await using server = await start();
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
  await using server = await start();
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
  await using server = await start({ routes });
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
  await using server = await start({ routes });
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
  await using server = await start({ routes });
  await assert.rejects(get(server, "/v1/routes"));
  assert.equal((await get(server, "/v1/status")).status, 200);
});

test("hostile names are escaped in JSON", async () => {
  await using server = await start();
  assert.match((await get(server, "/v1/peers")).body, /"k\\u202e"/);
});

test("HEAD has no body, also of a list and of events", async () => {
  await using server = await start();
  for (const path of ["/", "/v1/routes", "/v1/events", "/metrics"]) {
    const { status, body } = await get(server, path, { method: "HEAD" });
    assert.deepEqual([status, body], [200, ""], path);
  }
});

const event = (message: string) => ({ at: "2026-01-01T00:00:00.000Z", type: "peer" as const, message });

test("events are sent as they happen, and resumed after the last one that was read", async () => {
  const events = new EventLog("run", 3);
  await using server = await start({ events });
  events.record(event("before"));
  const stream = await open(server, "/v1/events");
  let read = "";
  stream.on("data", (chunk) => {
    read += chunk;
  });
  await until(() => read.includes(": connected"), "the stream to begin");
  events.record(event("one"));
  await until(() => read.includes("one"), "the event");
  assert.ok(!read.includes("before"));
  assert.match(read, /^id: run-1\nevent: peer\ndata: \{.*"message":"one"\}\n$/m);
  stream.destroy();
  for (const message of ["two", "three"]) events.record(event(message));
  const since = async (id: string) =>
    (await get(server, "/v1/events?follow=false", { headers: { "Last-Event-ID": id } })).body;
  const messages = (body: string) => [...body.matchAll(/"message":"(\w+)"/g)].map(([, message]) => message);
  assert.deepEqual(messages(await since("run-1")), ["two", "three"]);
  assert.deepEqual(messages(await since("run-3")), []);
  assert.deepEqual(messages(await since("0")), ["one", "two", "three"]);
  const after = await get(server, "/v1/events?follow=false&after=run-1");
  assert.deepEqual(messages(after.body), ["two", "three"]);
  assert.doesNotMatch(await since("0"), /event: gap/);
  events.record(event("four"));
  for (const follow of ["yes", "", "true&follow=x"])
    assert.equal(
      (
        await get(server, `/v1/events?follow=${follow}`, {
          headers: { "Last-Event-ID": "x" },
          method: "HEAD",
        })
      ).status,
      follow.startsWith("true") ? 200 : 400,
      follow,
    );
  for (const id of ["run-0", "other-3", "run-99", "<junk>"]) {
    const body = await since(id);
    assert.match(body, /^event: gap\ndata: \{\}\n\n/, id);
    assert.deepEqual(messages(body), ["two", "three", "four"], id);
  }
});

test("a reader that does not read is dropped when the ring has gone round; others are not", async () => {
  const events = new EventLog("run", 100);
  await using server = await start({ events });
  const fast = await open(server, "/v1/events");
  let received = 0;
  fast.on("data", (chunk: Buffer) => {
    received += chunk.toString().split("\nevent: peer\n").length - 1;
  });
  const slow = connect(server.port!, "127.0.0.1").on("error", () => {});
  slow.write("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await once(slow, "readable");
  let isClosed = false;
  slow.once("close", () => {
    isClosed = true;
  });
  const long = "x".repeat(64 * 1024);
  let sent = 0;
  // What the kernel buffers for the slow one differs from host to host.
  await until(async () => {
    events.record(event(long));
    sent++;
    await until(() => received === sent, "the fast reader to follow");
    if (sent > 250) slow.resume(); // it learns of its end by reading
    return isClosed;
  }, "the slow reader to be dropped");
  assert.equal(received, sent);
  fast.destroy();
});

test("event streams are bounded below the connections, and places become free again", async () => {
  await using server = await start();
  const streams = await Promise.all(Array.from({ length: 200 }, () => open(server, "/v1/events")));
  const refused = await get(server, "/v1/events");
  assert.deepEqual([refused.status, refused.headers["retry-after"]], [503, "10"]);
  assert.equal((await get(server, "/v1/status")).status, 200);
  streams[0]!.destroy();
  await until(async () => {
    const again = await open(server, "/v1/events");
    again.destroy();
    return again.statusCode === 200;
  }, "a place");
  for (const stream of streams) stream.destroy();
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
