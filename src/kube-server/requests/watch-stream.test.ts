/** Watches over HTTP: events, bookmarks, how they end, slow readers. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { call, open, watch } from "../../../test/support/kube-client.ts";
import { until } from "../../../test/support/until.ts";
import { type KubeApiOptions, KubeApiServer } from "../kube-api-server.ts";
import { makeNode, makePod } from "../objects/node-object.ts";

const brief = (event: { type: string; object: { metadata: { name: string } } } | undefined) =>
  event && `${event.type} ${event.object.metadata.name}`;

async function start(options: KubeApiOptions = {}) {
  const api = await KubeApiServer.start(options);
  const url = `${api.url}/api/v1/nodes?watch=true`;
  const watchFrom = (version: string, query = "") => watch(`${url}&resourceVersion=${version}${query}`);
  return { api, url, watchFrom };
}

test("a watch reports changes after a version, each once and in order", async () => {
  const { api, watchFrom } = await start();
  await using _ = api;
  api.nodes.create(makeNode("before"));
  const version = api.nodes.resourceVersion;
  api.nodes.create(makeNode("a"));
  using events = await watchFrom(version);
  assert.equal(brief(await events.next()), "ADDED a");
  api.pods.create(makePod("p"));
  const changed = api.nodes.patch("before", { metadata: { annotations: { x: "y" } } });
  assert.deepEqual(await events.next(), { type: "MODIFIED", object: changed });
  const deleted = api.nodes.delete("a");
  assert.deepEqual(await events.next(), { type: "DELETED", object: deleted });
  assert.equal(deleted.metadata.resourceVersion, api.nodes.resourceVersion);
});

test("a watch without a version, or with 0, begins with all objects", async () => {
  const { api, url, watchFrom } = await start();
  await using _ = api;
  for (const name of ["a", "b"]) api.nodes.create(makeNode(name));
  using fresh = await watch(url);
  using zero = await watchFrom("0");
  api.nodes.delete("a");
  for (const events of [fresh, zero]) {
    assert.equal(brief(await events.next()), "ADDED a");
    assert.equal(brief(await events.next()), "ADDED b");
    assert.equal(brief(await events.next()), "DELETED a");
  }
});

test("with a selector, objects are added and deleted as they match", async () => {
  const { api, watchFrom } = await start();
  await using _ = api;
  api.nodes.create(makeNode("n1"));
  api.nodes.create(makeNode("n2"));
  using labelled = await watchFrom(api.nodes.resourceVersion, "&labelSelector=x%3Dy");
  using named = await watchFrom(api.nodes.resourceVersion, "&fieldSelector=metadata.name%3Dn2");
  api.nodes.patch("n1", { metadata: { labels: { x: "y" } } });
  api.nodes.patch("n2", { metadata: { annotations: { a: "b" } } });
  const deleted = api.nodes.patch("n1", { metadata: { labels: { x: null } } });
  assert.equal(brief(await labelled.next()), "ADDED n1");
  const last = await labelled.next();
  assert.equal(brief(last), "DELETED n1");
  assert.equal(last.object.metadata.labels.x, "y", "the object as it was when it still matched");
  assert.equal(last.object.metadata.resourceVersion, deleted.metadata.resourceVersion);
  assert.equal(brief(await named.next()), "MODIFIED n2");
});

test("bookmarks have the newest version and go to watches that request them", async () => {
  const { api, watchFrom } = await start({ bookmarkIntervalMs: 10 });
  await using _ = api;
  const version = api.nodes.resourceVersion;
  using requested = await watchFrom(version, "&allowWatchBookmarks=true");
  using plain = await watchFrom(version);
  api.pods.create(makePod("p"));
  for (;;) {
    const { type, object } = await requested.next();
    assert.equal(type, "BOOKMARK");
    assert.equal(object.kind, "Node");
    if (object.metadata.resourceVersion === api.nodes.resourceVersion) break;
  }
  api.nodes.create(makeNode("n1"));
  assert.equal(brief(await plain.next()), "ADDED n1");
});

test("a watch ends cleanly after its timeout, with a last bookmark", async () => {
  const { api, watchFrom } = await start();
  await using _ = api;
  using events = await watchFrom(api.nodes.resourceVersion, "&allowWatchBookmarks=true&timeoutSeconds=1");
  assert.equal((await events.next()).type, "BOOKMARK");
  assert.equal(await events.next(), undefined);
  assert.equal(events.response.complete, true);
});

test("compacted history is 410: before a watch begins, and within one", async () => {
  const { api, url, watchFrom } = await start();
  await using _ = api;
  api.nodes.create(makeNode("n1"));
  const old = api.nodes.resourceVersion;
  using behind = await watchFrom(old);
  api.pods.create(makePod("p"));
  using current = await watchFrom(api.nodes.resourceVersion);
  api.compact();
  const event = await behind.next();
  assert.equal(event.type, "ERROR");
  assert.equal(event.object.code, 410);
  assert.equal(event.object.reason, "Expired");
  assert.equal(await behind.next(), undefined);
  const { status, body } = await call(`${url}&resourceVersion=${old}`);
  assert.equal(status, 410);
  assert.match(body.message, /^too old resource version: \d+ \(\d+\)$/);
  api.nodes.delete("n1");
  assert.equal(brief(await current.next()), "DELETED n1", "a client at the newest version continues");
});

test("a reader that lags behind by more than the history gets 410", async () => {
  const { api, watchFrom } = await start({ historyLength: 5 });
  await using _ = api;
  const old = api.nodes.resourceVersion;
  using events = await watchFrom(old);
  for (let index = 0; index < 6; index++) api.nodes.create(makeNode(`n${index}`));
  assert.equal((await events.next()).type, "ERROR");
  await assert.rejects(watchFrom(old), /410/);
});

test("a watch from a future version gets no event before the server reaches it", async () => {
  const { api, watchFrom } = await start();
  await using _ = api;
  using events = await watchFrom(String(Number(api.nodes.resourceVersion) + 2));
  for (const name of ["a", "b", "c"]) api.nodes.create(makeNode(name));
  assert.equal(brief(await events.next()), "ADDED c");
});

test("watches can be ended cleanly, reset, expired, and sent raw text", async () => {
  const { api, watchFrom } = await start();
  await using _ = api;
  const version = api.nodes.resourceVersion;
  {
    using events = await watchFrom(version);
    api.sendToWatches('{"type":"ADD');
    api.sendToWatches("junk\n");
    assert.equal(await events.nextLine(), '{"type":"ADDjunk');
    api.dropWatches();
    assert.equal(await events.next(), undefined);
    assert.equal(events.response.complete, true);
  }
  {
    using events = await watchFrom(version);
    api.dropWatches("reset");
    assert.equal(await events.next(), undefined);
    assert.equal(events.response.complete, false);
  }
  {
    using events = await watchFrom(version);
    api.dropWatches("expired");
    assert.equal((await events.next()).object.code, 410);
    assert.equal(await events.next(), undefined);
  }
  await until(() => api.watchCount === 0, "the watches to end");
});

test("a truncated watch ends within its first event", async () => {
  const { api, watchFrom } = await start();
  await using _ = api;
  api.inject({ verb: "watch", answer: "truncate" });
  using events = await watchFrom("0");
  api.nodes.create(makeNode("n1"));
  const line = await events.nextLine();
  assert.match(line ?? "", /^\{"type":"ADDED"/);
  assert.throws(() => JSON.parse(line ?? ""));
  assert.equal(await events.next(), undefined);
  assert.equal(events.response.complete, false);
});

test("a client that does not read costs little memory and is disconnected; others get all events", async () => {
  const { api, watchFrom } = await start({ historyLength: 200 });
  await using _ = api;
  api.nodes.create(makeNode("n1", { paddingBytes: 20_000 }));
  const version = api.nodes.resourceVersion;
  const slow = connect(api.port, "127.0.0.1");
  await once(slow, "connect");
  slow.write(
    `GET /api/v1/nodes?watch=1&resourceVersion=${version} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
  );
  await until(() => api.watchCount === 1, "the slow watch");
  using quick = await watchFrom(version);
  for (let index = 1; index <= 2_000; index++) {
    api.nodes.patch("n1", { spec: { index } });
    assert.equal((await quick.next()).object.spec.index, index);
  }
  slow.on("error", () => {});
  let text = "";
  slow.setEncoding("latin1").on("data", (chunk) => {
    text = (text + chunk).slice(-2_000);
  });
  await once(slow, "end");
  slow.destroy();
  assert.match(text, /"type":"ERROR".*too old resource version/);
  await until(() => api.watchCount === 1, "the slow watch to end");
});

test("unsupported options are rejected as by kube-apiserver without them", async () => {
  const { api, url } = await start();
  await using _ = api;
  const { status, body } = await call(`${url}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`);
  assert.equal(status, 422);
  assert.match(body.message, /sendInitialEvents is forbidden for watch unless the WatchList feature gate/);
  assert.equal((await call(`${url}&resourceVersion=abc`)).status, 422);
  assert.equal((await call(`${url}&timeoutSeconds=abc`)).status, 400);
  const head = await open(`${url}&resourceVersion=0`, {
    headers: { accept: "application/vnd.kubernetes.protobuf" },
  });
  assert.equal(head.statusCode, 406);
  head.destroy();
});
