import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { hostname } from "node:os";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { until } from "../../test/support/until.ts";
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

test("reports that it runs and that it is ready with flannel's texts", async () => {
  await using server = await start();
  const running = await get(server, "/healthz");
  assert.deepEqual([running.status, running.body], [200, "flanneld is running"]);
  const ready = await get(server, "/readyz?verbose");
  assert.deepEqual([ready.status, ready.body], [200, "flanneld is ready"]);
});

test("notes are reported and do not make the host unready", async () => {
  const reasons: string[] = [];
  const notes: string[] = [];
  await using server = await start(reasons, LOOPBACK, notes);
  notes.push("watch on the leases in etcd lost for 3 s");
  const ready = await get(server, "/readyz");
  assert.deepEqual([ready.status, ready.body], [200, `flanneld is ready\n${notes[0]}\n`]);
  reasons.push("lease: no lease yet");
  const { status, body } = await get(server, "/readyz");
  assert.deepEqual([status, body], [503, `flanneld is not ready yet\n${reasons[0]}\n${notes[0]}\n`]);
});

test("W36 readiness is lost again with its reasons, and comes back", async () => {
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

test("serves reports to its own host only", async () => {
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

test("a port in use and a foreign address are explained", async () => {
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

test("F24 reports are refused to a Host header that names another host; probes are not", async () => {
  await using server = await start();
  const ask = async (host: string, path: string): Promise<string> => {
    const socket = connect({ host: "127.0.0.1", port: server.port });
    socket.end(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    return (await text(socket)).split(" ")[1]!;
  };
  const own = [
    "127.0.0.1",
    `127.0.0.1:${server.port}`,
    "[::1]:80",
    "[fe80::1%25eth0]",
    "localhost:80",
    "LOCALHOST.",
  ];
  for (const host of [...own, hostname(), `${hostname()}:1`])
    assert.equal(await ask(host, "/drift"), "200", host);
  const foreign = [
    "evil.example",
    "evil.example:80",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "",
    "[::1",
    "1.2",
  ];
  for (const host of foreign) {
    assert.equal(await ask(host, "/drift"), "403", host);
    assert.equal(await ask(host, "/healthz"), "200", host);
    assert.equal(await ask(host, "/readyz"), "200", host);
  }
});

test("F23 a client that sends its request byte by byte is cut", async () => {
  await using server = await start();
  const client = connect(server.port, "127.0.0.1");
  client.on("error", () => {}); // a reset, if a byte crosses the end of the connection
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<void>();
  client.once("close", () => onClosed());
  const startedMs = performance.now();
  client.write("GET /healthz HTTP/1.1\r\nHost: x\r\nX: ");
  const drip = setInterval(() => client.write("x"), 100);
  try {
    client.resume();
    await closed;
  } finally {
    clearInterval(drip);
  }
  const tookMs = performance.now() - startedMs;
  assert.ok(tookMs < 12_000, `${Math.round(tookMs)} ms`);
});

test("F23 connections are bounded, and probes are served again when others have left", async () => {
  await using server = await start();
  const clients = Array.from({ length: 300 }, () => connect(server.port, "127.0.0.1").on("error", () => {}));
  let closed = 0;
  for (const client of clients) client.resume().once("close", () => closed++);
  await until(() => closed === 300 - 256, "the connections above the limit to be closed");
  for (const client of clients) client.destroy();
  await until(
    () =>
      get(server, "/healthz").then(
        ({ status }) => status === 200,
        () => false,
      ),
    "a probe to be answered",
  );
});

test("F22 a report that fails is an answer", async () => {
  const reports = {
    "/drift": () => {
      throw new Error("no report");
    },
  };
  const options = { ip: LOOPBACK, port: 0, notReadyReasons: () => [], notes: () => [], reports };
  await using server = await HealthServer.start(options);
  const { status, body } = await get(server, "/drift");
  assert.deepEqual([status, body], [500, "failed to answer: no report\n"]);
});

test("closes at once, with a client that has sent half a request", async () => {
  const server = await start();
  const { port } = server;
  const client = connect(port, "127.0.0.1");
  client.on("error", () => {});
  await once(client, "connect");
  client.write("GET /healthz HTTP/1.1\r\nHost:");
  assert.equal((await get(server, "/healthz")).status, 200); // by now the server has accepted the other connection
  const closed = once(client, "close");
  await server[Symbol.asyncDispose]();
  await closed;
  await assert.rejects(fetch(`http://127.0.0.1:${port}/healthz`));
});
