import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { ConfigError } from "../base/error.ts";
import { HealthServer } from "./health.ts";

const LOOPBACK = parseIp("127.0.0.1")!;

const REPORTS = { "/drift": () => ({ counts: { route: 1 }, entries: [] }) };

const start = (reasons: string[] = [], ip = LOOPBACK, notes: string[] = []) =>
  HealthServer.start({ ip, port: 0, notReadyReasons: () => reasons, notes: () => notes, reports: REPORTS });

async function get(server: HealthServer, path: string, method = "GET") {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
  return { status: response.status, body: await response.text(), headers: response.headers };
}

test("says that it runs and that it is ready in flannel's words", async () => {
  await using server = await start();
  const running = await get(server, "/healthz");
  assert.deepEqual([running.status, running.body], [200, "flanneld is running"]);
  const ready = await get(server, "/readyz?verbose");
  assert.deepEqual([ready.status, ready.body], [200, "flanneld is ready"]);
});

test("what is worth knowing is told and makes nothing unready", async () => {
  const reasons: string[] = [];
  const notes: string[] = [];
  await using server = await start(reasons, LOOPBACK, notes);
  notes.push("no watch on the leases in etcd for 3 s");
  const ready = await get(server, "/readyz");
  assert.deepEqual([ready.status, ready.body], [200, `flanneld is ready\n${notes[0]}\n`]);
  reasons.push("lease: no lease yet");
  const { status, body } = await get(server, "/readyz");
  assert.deepEqual([status, body], [503, `flanneld is not ready yet\n${reasons[0]}\n${notes[0]}\n`]);
});

test("W36 readiness falls again, says why, and comes back", async () => {
  const reasons: string[] = [];
  await using server = await start(reasons);
  assert.equal((await get(server, "/readyz")).status, 200);
  reasons.push("the device flannel.1 cannot be made: EPERM", "etcd does not answer");
  const { status, body } = await get(server, "/readyz");
  assert.equal(status, 503);
  assert.deepEqual(body.split("\n"), ["flanneld is not ready yet", ...reasons, ""]);
  assert.equal((await get(server, "/healthz")).status, 200);
  reasons.length = 0;
  assert.equal((await get(server, "/readyz")).status, 200);
});

test("HEAD without a body, other methods and paths refused", async () => {
  await using server = await start(["no"]);
  const head = await get(server, "/readyz", "HEAD");
  assert.deepEqual([head.status, head.body], [503, ""]);
  const post = await get(server, "/healthz", "POST");
  assert.deepEqual([post.status, post.headers.get("allow")], [405, "GET, HEAD"]);
  for (const path of ["/", "/drift/", "/__proto__"]) {
    const { status, body } = await get(server, path);
    assert.deepEqual([status, body], [404, "try /healthz, /readyz, /drift\n"]);
  }
});

test("gives reports to its own host only", async () => {
  await using server = await start([], parseIp("0.0.0.0"));
  const { status, body, headers } = await get(server, "/drift");
  assert.equal(status, 200);
  assert.match(headers.get("content-type")!, /^application\/json/);
  assert.deepEqual(JSON.parse(body), { counts: { route: 1 }, entries: [] });
  // The same address at both ends is one host; two of loopback's stand for two hosts here.
  const socket = connect({ host: "127.0.0.1", port: server.port, localAddress: "127.0.0.2" });
  socket.end("GET /drift HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const [chunk] = (await once(socket, "data")) as [Buffer];
  assert.match(chunk.toString(), /^HTTP\/1\.1 403 /);
});

test("a port in use and an address that is not ours are explained", async () => {
  await using server = await start();
  const taken = {
    ip: LOOPBACK,
    port: server.port,
    notReadyReasons: () => [],
    notes: () => [],
    reports: REPORTS,
  };
  await assert.rejects(
    HealthServer.start(taken),
    (error) => error instanceof ConfigError && /in use.*--healthz-port/.test(error.message),
  );
  await assert.rejects(
    HealthServer.start({
      ip: parseIp("192.0.2.1")!,
      port: 0,
      notReadyReasons: () => [],
      notes: () => [],
      reports: REPORTS,
    }),
    (error) => error instanceof ConfigError && /--healthz-ip/.test(error.message),
  );
});

test("closes at once, with a client that has sent half a request", async () => {
  const server = await start();
  const { port } = server;
  const client = connect(port, "127.0.0.1");
  client.on("error", () => {});
  await once(client, "connect");
  client.write("GET /healthz HTTP/1.1\r\nHost:");
  assert.equal((await get(server, "/healthz")).status, 200); // by now the other connection is known to the server
  const closed = once(client, "close");
  await server[Symbol.asyncDispose]();
  await closed;
  await assert.rejects(fetch(`http://127.0.0.1:${port}/healthz`));
});
