/** Misbehaving clients: the embedded store answers correctly, bounds its memory, and serves other clients. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { KV, WatchRequestSchema, WatchResponseSchema } from "../../src/etcd-api/rpc_pb.ts";
import { makeDataDirectory, type StoreProcess, startStoreProcess } from "../support/embedded.ts";
import { until } from "../support/until.ts";

const directory = makeDataDirectory();
let server: StoreProcess;
let kv: Client<typeof KV>;
before(async () => {
  server = await startStoreProcess(directory.path);
  kv = createClient(KV, createGrpcTransport({ baseUrl: server.endpoint }));
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

const key = (name: string) => Buffer.from(name);
const isAlive = async () => assert.equal((await kv.range({ key: key("alive") })).count, 0n);
const residentMb = () =>
  (Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))![1]) * 1024) / 1e6;
const openFiles = () => readdirSync(`/proc/${server.pid}/fd`).length;

function framed(message: Uint8Array, length = message.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

/** Sends bytes as the request of a method and gives the gRPC status, or the HTTP status if there is none. */
async function send(
  path: string,
  bytes: Uint8Array,
  headers: Record<string, string> = { "content-type": "application/grpc" },
): Promise<string> {
  const session = connectHttp2(server.endpoint);
  try {
    const stream = session.request({ ":method": "POST", ":path": path, ...headers });
    const answer = Promise.withResolvers<string>();
    const read = (received: Record<string, unknown>) => {
      if (received["grpc-status"] !== undefined)
        answer.resolve(`${received["grpc-status"]} ${received["grpc-message"]}`);
      else if (received[":status"] !== undefined && received[":status"] !== 200)
        answer.resolve(`HTTP ${received[":status"]}`);
    };
    stream.on("response", read).on("trailers", read).on("error", answer.reject).resume();
    stream.on("close", () => answer.reject(new Error("closed without an answer")));
    stream.end(bytes);
    return await answer.promise;
  } finally {
    session.destroy();
  }
}

test("malformed gRPC is refused, and the connection stays usable", async () => {
  const put = "/etcdserverpb.KV/Put";
  assert.match(await send(put, framed(Buffer.from([0xff, 0xff, 0xff]))), /^13 grpc: error unmarshalling/);
  assert.match(await send(put, framed(Buffer.from([1, 2, 3]), 10)), /^13 .*truncated/);
  assert.match(await send(put, Buffer.alloc(0)), /^13 .*truncated/);
  assert.match(
    await send(put, Buffer.concat([framed(Buffer.alloc(0)), framed(Buffer.alloc(0))])),
    /^13 .*more than one/,
  );
  assert.match(await send(put, Buffer.from([1, 0, 0, 0, 0])), /^12 .*compressed/);
  assert.match(await send(put, framed(Buffer.alloc(10), 0xffff_ffff)), /^8 .*larger than max/);
  assert.match(
    await send("/etcdserverpb.Watch/Watch", framed(Buffer.from([0xff]))),
    /^13 grpc: error unmarshalling/,
  );
  assert.match(await send("/etcdserverpb.KV/Nothing", framed(Buffer.alloc(0))), /^12 /);
  assert.match(await send("/nothing", framed(Buffer.alloc(0))), /^12 /);
  assert.equal(await send(put, Buffer.from("{}"), { "content-type": "application/json" }), "HTTP 415");
  await isAlive();
});

test("oversized requests are refused as etcd does", async () => {
  const put = async (bytes: number) => {
    try {
      await kv.put({ key: key("big"), value: Buffer.alloc(bytes) });
      return "stored";
    } catch (error) {
      assert.ok(error instanceof ConnectError);
      return `${Code[error.code]} ${error.rawMessage}`;
    }
  };
  assert.equal(await put(1_500_000), "stored");
  assert.equal(await put(1_700_000), "InvalidArgument etcdserver: request is too large");
  assert.match(
    await put(3_000_000),
    /^ResourceExhausted grpc: received message larger than max \(\d+ vs\. 2097152\)/,
  );
  await kv.deleteRange({ key: key("big") });
  await isAlive();
});

test("random bytes on the port, half a preface, and HTTP/1.1 in pieces", async () => {
  const port = Number(new URL(server.endpoint).port);
  const talk = async (...pieces: string[]): Promise<string> => {
    const socket: Socket = connectTcp(port, "127.0.0.1");
    socket.on("error", () => {});
    for (const piece of pieces) {
      socket.write(piece, "latin1");
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.end();
    return text(socket).catch(() => "");
  };
  assert.match(await talk("\x16\x03\x01\x02\x00\x01 not TLS here"), /^(HTTP\/1\.1 400|$)/);
  await talk("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
  await talk("PR");
  assert.match(await talk("P", "OST /health HTTP/1.1\r\nHost: x\r\n\r\n"), /^HTTP\/1\.1 405/);
  assert.match(
    await talk("G", "ET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    /"health":"true"/,
  );
  const answer = async (path: string) => {
    const response = await fetch(`${server.endpoint}${path}`);
    return [response.status, await response.json()];
  };
  assert.deepEqual(await answer("/health"), [200, { health: "true" }]);
  assert.deepEqual(await answer("/version"), [
    200,
    { etcdserver: "3.4.0+flannel-embedded", etcdcluster: "3.4.0" },
  ]);
  assert.equal((await answer("/metrics"))[0], 404);
  await isAlive();
});

function watch(session: ClientHttp2Session, prefix: string, startRevision = 0n): ClientHttp2Stream {
  const value = { key: key(prefix), rangeEnd: key(`${prefix}\xff`), startRevision };
  const request = create(WatchRequestSchema, { requestUnion: { case: "createRequest", value } });
  const headers = { "content-type": "application/grpc", te: "trailers" };
  const stream = session.request({ ":method": "POST", ":path": "/etcdserverpb.Watch/Watch", ...headers });
  stream.on("error", () => {});
  stream.write(framed(toBinary(WatchRequestSchema, request)));
  return stream;
}

test("a watcher that does not read costs bounded memory and misses nothing", async () => {
  const session = connectHttp2(server.endpoint);
  try {
    const streams = Array.from({ length: 20 }, () => watch(session, "slow/"));
    await Promise.all(streams.map((stream) => new Promise((resolve) => stream.once("response", resolve))));
    const before = residentMb();
    const value = Buffer.alloc(100_000, 1);
    const COUNT = 400; // 40 MB, which 20 watchers would have wait for them 20 times
    for (let index = 0; index < COUNT; index++) await kv.put({ key: key(`slow/${index}`), value });
    assert.ok(residentMb() - before < 250, `${Math.round(residentMb() - before)} MB more`);
    let seen = 0;
    let pending = Buffer.alloc(0);
    streams[0]!.on("data", (piece: Buffer) => {
      pending = Buffer.concat([pending, piece]);
      while (pending.length >= 5 && pending.length >= 5 + pending.readUInt32BE(1)) {
        const end = 5 + pending.readUInt32BE(1);
        for (const { kv: record } of fromBinary(WatchResponseSchema, pending.subarray(5, end)).events) {
          assert.equal(Buffer.from(record!.key).toString(), `slow/${seen++}`);
        }
        pending = pending.subarray(end);
      }
    });
    await until(() => seen === COUNT, "all events", 30_000);
  } finally {
    session.destroy();
  }
  await kv.deleteRange({ key: key("slow/"), rangeEnd: key("slow0") });
  await isAlive();
});

test("watchers that vanish leave nothing behind", async () => {
  const before = openFiles();
  const sessions = Array.from({ length: 300 }, () => connectHttp2(server.endpoint));
  const streams = sessions.map((session) => {
    session.on("error", () => {});
    return watch(session, "gone/");
  });
  await Promise.all(streams.map((stream) => new Promise((resolve) => stream.once("data", resolve))));
  assert.ok(openFiles() >= before + 300);
  for (const [index, session] of sessions.entries()) {
    if (index % 2 === 0) session.destroy();
    else (session.socket as Socket).destroy();
  }
  await kv.put({ key: key("gone/1") });
  await until(() => openFiles() <= before, "the connections to end");
  await kv.deleteRange({ key: key("gone/1") });
  await isAlive();
});

test("10,000 open streams receive a put, and cost a few kilobytes each", async () => {
  const before = residentMb();
  const sessions = Array.from({ length: 10 }, () => connectHttp2(server.endpoint));
  try {
    let created = 0;
    let notified = 0;
    for (const session of sessions) {
      session.setMaxListeners(0);
      await new Promise((resolve) => session.once("remoteSettings", resolve));
      for (let index = 0; index < 1000; index++) {
        const stream = watch(session, "many/");
        stream.once("data", () => {
          created++;
          stream.once("data", () => {
            notified++;
          });
        });
      }
    }
    await until(() => created === 10_000, "10,000 watches", 30_000);
    const each = ((residentMb() - before) * 1000) / 10_000;
    assert.ok(each < 40, `${each.toFixed(1)} kB each`);
    await kv.put({ key: key("many/1") });
    await until(() => notified === 10_000, "10,000 events", 30_000);
  } finally {
    for (const session of sessions) session.destroy();
  }
  await kv.deleteRange({ key: key("many/1") });
  await isAlive();
});

test("two thousand connections at the same time", async () => {
  const clients = Array.from({ length: 2000 }, () => connectHttp2(server.endpoint));
  try {
    await Promise.all(
      clients.map(
        (client) =>
          new Promise((resolve, reject) => client.once("remoteSettings", resolve).once("error", reject)),
      ),
    );
    await isAlive();
  } finally {
    for (const client of clients) client.destroy();
  }
  await isAlive();
});

test("more connections than the file limit allows: accepted ones are served, and new ones once others close", async () => {
  const limit = openFiles() + 50;
  execFileSync("prlimit", ["--pid", String(server.pid), `--nofile=${limit}`]);
  const port = Number(new URL(server.endpoint).port);
  const sockets = Array.from({ length: 200 }, () => connectTcp(port, "127.0.0.1").on("error", () => {}));
  try {
    await until(() => openFiles() >= limit - 5, "the limit to be reached");
    await isAlive();
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  const session = connectHttp2(server.endpoint);
  try {
    await new Promise((resolve, reject) => session.once("remoteSettings", resolve).once("error", reject));
  } finally {
    session.destroy();
  }
});
