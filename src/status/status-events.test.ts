/** Events of the status server: resumed, bounded, and dropped for a reader that does not read. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { get, open, startStatusServer } from "../../test/support/status-bed.ts";
import { until } from "../../test/support/until.ts";
import { EventLog } from "./event-log.ts";

const event = (message: string) => ({
  at: "2026-01-01T00:00:00.000Z",
  type: "peer" as const,
  message,
});

test("events are sent as they happen, and resumed after the last one that was read", async () => {
  const events = new EventLog("run", 3);
  await using server = await startStatusServer({ events });
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
  await using server = await startStatusServer({ events });
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
  await using server = await startStatusServer();
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
