/**
 * F23: the memory of the embedded store is bounded, and other clients are served, whatever a client sends or does not read.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  KV,
  LeaseKeepAliveRequestSchema,
  RangeRequestSchema,
  WatchRequestSchema,
} from "../../src/etcd-api/rpc_pb.ts";
import { TRAFFIC_LIMITS } from "../../src/etcd-server/grpc/traffic.ts";
import { startEmbedded } from "../support/embedded.ts";
import {
  connectRaw,
  FLAG,
  FRAME,
  frameOf,
  grpcFields,
  grpcMessage,
  headerBlock,
  PREFACE,
  setting,
} from "../support/raw-http2.ts";
import { ALL, encode, observe, openSessions, request, startFilled } from "../support/store-load.ts";
import { until } from "../support/until.ts";

for (const connections of [1, 40]) {
  test(`F23 400 unfinished puts of 1.9 MB, connections=${connections}`, async (t) => {
    const { server, kv } = await startFilled(t);
    const finish = observe(server, kv);
    const sessions = openSessions(server, connections);
    t.after(() => sessions.forEach((session) => void session.destroy()));
    const piece = grpcMessage(Buffer.alloc(1_900_000), 1_990_000);
    const requests = Array.from({ length: 400 }, (_, index) =>
      request(sessions[index % connections]!, "/etcdserverpb.KV/Put", piece, { end: false, read: true }),
    );
    const refused = () => requests.filter(({ status }) => status() === "8").length;
    await until(() => refused() > 300, "most to be refused with RESOURCE_EXHAUSTED", 30_000);
    const { growthMb, probeMs } = await finish(t);
    assert.ok(growthMb < 250, `${growthMb} MB`);
    assert.ok(probeMs < 1500, `${probeMs} ms`);
  });

  test(`F23 200 listings of 10 MB that are not read, connections=${connections}`, async (t) => {
    const { server, kv } = await startFilled(t);
    const finish = observe(server, kv);
    const sessions = openSessions(server, connections);
    t.after(() => sessions.forEach((session) => void session.destroy()));
    const range = encode(RangeRequestSchema, ALL);
    const requests = Array.from({ length: 200 }, (_, index) =>
      request(sessions[index % connections]!, "/etcdserverpb.KV/Range", range, { end: true, read: false }),
    );
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const { growthMb, probeMs } = await finish(t);
    assert.ok(
      requests.some(({ status }) => status() === "8"),
      "refused with RESOURCE_EXHAUSTED",
    );
    assert.ok(growthMb < 350, `${growthMb} MB`);
    assert.ok(probeMs < 1500, `${probeMs} ms`);
  });
}

test("F23 a transaction of many listings is refused before it is run", async (t) => {
  const { server, kv } = await startFilled(t);
  const finish = observe(server, kv);
  const list = { request: { case: "requestRange", value: ALL } } as const;
  const success = Array.from({ length: 100 }, () => list);
  await assert.rejects(kv.txn({ success }), /resource_exhausted.*response is too large/);
  const { growthMb } = await finish(t);
  assert.ok(growthMb < 150, `${growthMb} MB`);
});

test("F23 a slow reader gets all, one that does not read is cut", async (t) => {
  const limits = { ...TRAFFIC_LIMITS, stallMs: 1500 };
  await using embedded = await startEmbedded({ limits });
  const kv = createClient(KV, createGrpcTransport({ baseUrl: embedded.endpoint }));
  for (let index = 0; index < 20; index++) {
    await kv.put({ key: Buffer.from(`k${index}`), value: Buffer.alloc(100_000) });
  }
  const range = encode(RangeRequestSchema, ALL);
  for (const authority of ["store", "http://store"]) {
    const ask = () => {
      const session = connectHttp2(embedded.endpoint);
      t.after(() => session.destroy());
      session.on("error", () => {});
      const headers = { ":method": "POST", ":path": "/etcdserverpb.KV/Range", ":authority": authority };
      const stream = session.request({ ...headers, "content-type": "application/grpc" });
      stream.on("error", () => {}).end(range);
      return { session, stream };
    };
    const slow = ask();
    let received = 0;
    slow.stream.on("data", (piece: Buffer) => {
      received += piece.length;
      slow.stream.pause();
      setTimeout(() => slow.stream.resume(), 40); // some 400 kB/s: longer than stallMs in all
    });
    const stalled = ask();
    const startedMs = performance.now();
    await Promise.all([
      until(() => received > 2_000_000, "the slow reader to have all", 30_000),
      until(() => stalled.session.destroyed, "the other to be cut", 30_000),
    ]);
    assert.ok(performance.now() - startedMs > limits.stallMs);
  }
});

test("F23 requests that are never finished are answered, and leave their budget", async () => {
  await using embedded = await startEmbedded({ limits: { ...TRAFFIC_LIMITS, requestMs: 500 } });
  const [session] = openSessions(embedded, 1);
  try {
    const piece = grpcMessage(Buffer.alloc(1_000_000), 1_990_000);
    const options = { end: false, read: true };
    const requests = Array.from({ length: 10 }, () =>
      request(session!, "/etcdserverpb.KV/Put", piece, options),
    );
    await until(() => requests.every(({ status }) => status() === "8"), "all to be refused");
    await until(() => requests.every(({ stream }) => stream.closed), "all to be closed");
  } finally {
    session!.destroy();
  }
});

test("F23 keep-alives whose answers are not read, and endless watches on one stream, are refused", async (t) => {
  const { server, kv } = await startFilled(t);
  const finish = observe(server, kv);
  const socket = await connectRaw(server.endpoint);
  socket.pause();
  t.after(() => socket.destroy());
  // A window of 0: the server can send headers, but no message.
  socket.write(Buffer.concat([PREFACE, frameOf(FRAME.SETTINGS, 0, 0, setting(4, 0))]));
  const keepAlive = encode(LeaseKeepAliveRequestSchema, { ID: 1n });
  const watch = encode(WatchRequestSchema, {
    requestUnion: { case: "createRequest", value: { key: Buffer.of(1) } },
  });
  for (const [id, path, message] of [
    [1, "/etcdserverpb.Lease/LeaseKeepAlive", keepAlive],
    [3, "/etcdserverpb.Watch/Watch", watch],
  ] as const) {
    socket.write(frameOf(FRAME.HEADERS, FLAG.END_HEADERS, id, headerBlock(grpcFields(path))));
    const many = Buffer.concat(Array.from({ length: 500 }, () => message));
    for (let count = 0; count < 100 && !socket.destroyed; count++) {
      if (!socket.write(frameOf(FRAME.DATA, 0, id, many))) await once(socket, "drain");
    }
  }
  const { growthMb, probeMs } = await finish(t);
  assert.ok(growthMb < 150, `${growthMb} MB`);
  assert.ok(probeMs < 1500, `${probeMs} ms`);
});

test("F23 floods of CONTINUATION, PING, SETTINGS and resets, and large headers, cost the sender its connection", async (t) => {
  const { server, kv } = await startFilled(t);
  const finish = observe(server, kv);
  const block = headerBlock(grpcFields("/etcdserverpb.KV/Put"));
  let id = -1;
  let count = 0;
  const nextId = () => {
    id += 2;
    return id;
  };
  const large = headerBlock([
    ...grpcFields("/etcdserverpb.KV/Put"),
    ...Array.from({ length: 4 }, (_, index): [string, string] => [`x${index}`, "x".repeat(3800)]),
  ]);
  const floods: Record<string, () => Buffer> = {
    continuation: () =>
      count++ === 0
        ? frameOf(FRAME.HEADERS, 0, 1, block)
        : frameOf(FRAME.CONTINUATION, 0, 1, headerBlock([["a", "b"]])),
    ping: () => frameOf(FRAME.PING, 0, 0, Buffer.alloc(8)),
    settings: () => frameOf(FRAME.SETTINGS, 0, 0, setting(4, 1000)),
    reset: () =>
      Buffer.concat([
        frameOf(FRAME.HEADERS, FLAG.END_HEADERS, nextId(), block),
        frameOf(FRAME.RST_STREAM, 0, id, Buffer.alloc(4)),
      ]),
    headers: () => frameOf(FRAME.HEADERS, FLAG.END_HEADERS, nextId(), large),
  };
  for (const [name, next] of Object.entries(floods)) {
    id = -1;
    count = 0;
    const socket = await connectRaw(server.endpoint);
    t.after(() => socket.destroy());
    socket.pause(); // reads nothing
    socket.write(Buffer.concat([PREFACE, frameOf(FRAME.SETTINGS, 0, 0)]));
    for (let round = 0; round < 300 && !socket.destroyed; round++) {
      const sent = Buffer.concat(Array.from({ length: 20 }, next));
      if (socket.write(sent)) continue;
      await new Promise((resolve) => {
        socket.once("drain", resolve).once("close", resolve);
        setTimeout(resolve, 500); // the server reads no more
      });
    }
    assert.equal((await kv.range({ key: Buffer.from("alive") })).count, 0n, name);
  }
  const { growthMb, probeMs } = await finish(t);
  assert.ok(growthMb < 200, `${growthMb} MB`);
  assert.ok(probeMs < 1500, `${probeMs} ms`);
});

test("F23 HTTP/1.1 requests and prefaces that drip are cut", async () => {
  await using embedded = await startEmbedded();
  const port = Number(new URL(embedded.endpoint).port);
  const dripping = ["GET /health HTTP/1.1\r\nX: ", "PR"].map(async (start) => {
    const socket: Socket = connectTcp(port, "127.0.0.1")
      .on("error", () => {})
      .resume();
    socket.write(start);
    const drip = setInterval(() => start !== "PR" && socket.write("x"), 100);
    try {
      await until(() => socket.destroyed || socket.readableEnded, "the connection to be cut", 15_000);
    } finally {
      clearInterval(drip);
      socket.destroy();
    }
  });
  await Promise.all(dripping);
});
