/** The Kubernetes store through what an API server, and the line to it, can do to a client: each time it catches up, and tells what an operator has to know, once. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { hasCode } from "../../src/base/error.ts";
import { KubeApiServer } from "../../src/kube-server/kube-api-server.ts";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import type { KubeStoreOptions } from "../../src/lease/kube/kube-lease-store.ts";
import { follow } from "../support/follow.ts";
import { addPeer, annotated, attributesOf, keepLog, NETWORK, openKubeStore } from "../support/kube-store.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { until } from "../support/until.ts";

/** A server with node-1 and two peers, a line to it, and the store of node-1 whose watch on all nodes has begun. */
async function makeBed(
  t: TestContext,
  {
    options = {},
    historyLength = 1000,
    bookmarkIntervalMs = 60_000,
    peers = [2, 3],
  }: {
    options?: Partial<KubeStoreOptions>;
    historyLength?: number;
    bookmarkIntervalMs?: number;
    peers?: readonly number[];
  } = {},
) {
  const api = await KubeApiServer.start({ historyLength, bookmarkIntervalMs });
  t.after(() => api[Symbol.asyncDispose]());
  const line = await startTcpProxy(api.port);
  t.after(() => line[Symbol.asyncDispose]());
  api.nodes.create(makeNode("node-1", { podCIDRs: ["10.5.1.0/24"] }));
  for (const peer of peers) addPeer(api, peer);
  const log = keepLog();
  const store = await openKubeStore(`http://127.0.0.1:${line.port}`, "node-1", options, { logger: log });
  t.after(() => store[Symbol.asyncDispose]());
  const watch = follow(store);
  t.after(() => watch[Symbol.asyncDispose]());
  await until(() => watch.table.size === peers.length && api.watchCount === 1, "the watch");
  const requests = (verb: string) => api.requests.filter((request) => request.verb === verb).length;
  return {
    api,
    line,
    log,
    store,
    watch,
    requests,
    /** The peers that are seen. */
    seen: () =>
      watch.table
        .peers(undefined)
        .map(({ key }) => key)
        .sort(),
    /** Whether the watch still works: adds a peer and waits for it. */
    async works(peer: number) {
      addPeer(api, peer);
      await until(() => watch.table.get(`node-${peer}`) !== undefined, `node-${peer}`);
    },
    warnings: () => log.lines.filter((text) => /^[WE]/.test(text)),
  };
}

test("410 Gone within a watch: listed again; what vanished is gone, what stayed is no news", async (t) => {
  const bed = await makeBed(t);
  await bed.works(5);
  const stayed = bed.watch.table.get("node-2");
  bed.api.dropWatches("expired");
  await until(() => bed.watch.snapshots === 2, "the second listing");
  assert.equal(bed.watch.table.get("node-2"), stayed);
  assert.equal(bed.store.counters.relists, 1);
  await bed.works(4);
  assert.deepEqual(bed.warnings(), []);
  assert.match(bed.log.text, /I Listing the nodes again: the API server ended the watch: /);
});

test("410 Gone at the start of a watch: listed again, once", async (t) => {
  const bed = await makeBed(t);
  await bed.line.cut();
  bed.api.nodes.delete("node-2");
  addPeer(bed.api, 4);
  bed.api.compact();
  await bed.line.restore();
  await until(() => bed.watch.snapshots === 2, "the second listing");
  assert.deepEqual(bed.seen(), ["node-3", "node-4"]);
  assert.equal(bed.requests("list"), 2);
  await bed.works(5);
});

test("bookmarks move the watch on: history that was forgotten after one costs no listing", async (t) => {
  const bed = await makeBed(t, { historyLength: 10, bookmarkIntervalMs: 30 });
  await bed.line.cut();
  await bed.line.restore();
  await until(() => bed.api.watchCount === 1, "the watch again");
  // Pods change, nodes do not: only bookmarks report the newer version.
  for (let pod = 0; pod < 50; pod++) {
    bed.api.pods.create({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `pod-${pod}`, namespace: "default" },
      spec: {},
    });
  }
  const before = bed.api.nodes.resourceVersion;
  const watches = bed.requests("watch");
  await new Promise((resolve) => setTimeout(resolve, 100)); // three intervals: nothing shows when a bookmark arrived
  bed.api.compact();
  bed.api.dropWatches();
  await until(() => bed.requests("watch") > watches && bed.api.watchCount === 1, "the watch again");
  assert.equal(bed.api.nodes.resourceVersion, before);
  await bed.works(4);
  assert.equal(bed.requests("list"), 1);
});

test("the server ends its watches in time: they go on from where they were, without a word", async (t) => {
  const bed = await makeBed(t, { options: { timings: { watchMs: 500 } } });
  await until(() => bed.requests("watch") >= 3, "three watches");
  await bed.works(4);
  assert.equal(bed.requests("list"), 1);
  assert.deepEqual(bed.log.lines, []);
});

test("a server that ends every watch at once is not asked as fast as it answers", async (t) => {
  const bed = await makeBed(t, { options: { timings: { retryMinMs: 100 } } });
  const endMs = performance.now() + 500;
  while (performance.now() < endMs) {
    bed.api.dropWatches();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(bed.requests("watch") < 10, String(bed.requests("watch")));
  await bed.works(4);
});

for (const [what, verb, after] of [
  ["ends every watch after a bookmark is not asked", "watch", ""],
  [
    "forgets everything again after each listing is not asked for all nodes",
    "list",
    '{"type":"ERROR","object":{"code":410}}\n',
  ],
] as const) {
  test(`a server that ${what} as fast as it answers`, async (t) => {
    const bed = await makeBed(t, { options: { timings: { retryMinMs: 100, retryMaxMs: 2_000 } } });
    const { resourceVersion } = bed.api.nodes;
    const bookmark = `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"${resourceVersion}"}}}\n`;
    const body = bookmark + after;
    const fault = bed.api.inject({ verb: "watch", times: 100_000, answer: { status: 200, body } });
    bed.api.dropWatches("reset");
    await until(() => bed.requests(verb) >= 4, "some attempts");
    const [before, sinceMs] = [bed.requests(verb), performance.now()];
    await until(() => bed.requests(verb) > before, "the next one");
    assert.ok(performance.now() - sinceMs >= 100, "pauses grow");
    fault[Symbol.dispose]();
    await bed.works(4);
  });
}

for (const [what, text] of [
  ["that is cut off", '{"type":"MODIFIED","object":{"metadata":{"name":"node-2","resour\n'],
  ["that is no JSON", "Internal Server Error\n"],
  [
    "of an unknown type",
    '{"type":"CHANGED","object":{"metadata":{"name":"node-2","resourceVersion":"9"}}}\n',
  ],
  ["without an object", '{"type":"DELETED"}\n'],
  ["without a version", '{"type":"DELETED","object":{"metadata":{"name":"node-2"}}}\n'],
  ["that is longer than any", `{"type":"ADDED","object":"${"x".repeat(5 << 20)}`],
] as const) {
  test(`an event ${what}: the watch begins again after the last good one, and nothing is lost`, async (t) => {
    const bed = await makeBed(t);
    bed.api.sendToWatches(text);
    await until(() => bed.requests("watch") === 2 && bed.api.watchCount === 1, "a new watch");
    await bed.works(4);
    assert.deepEqual(bed.seen(), ["node-2", "node-3", "node-4"]);
    assert.equal(bed.requests("list"), 1);
    assert.equal(bed.warnings().length, 1, bed.log.text);
    assert.match(bed.log.text, /W Watch on the nodes in Kubernetes lost; retrying: the API server/);
    assert.match(bed.log.text, /I Watch on the nodes in Kubernetes restored after/);
  });
}

test("an event of no node (a nameless one) is passed over", async (t) => {
  const bed = await makeBed(t);
  const version = bed.api.nodes.resourceVersion;
  bed.api.sendToWatches(`{"type":"ADDED","object":{"metadata":{"resourceVersion":"${version}"},"spec":7}}\n`);
  await bed.works(4);
  assert.equal(bed.requests("watch"), 1);
});

test("events that are malformed again and again: everything is listed anew", async (t) => {
  const bed = await makeBed(t);
  const fault = bed.api.inject({ verb: "watch", times: 100, answer: { status: 200, body: "junk\n" } });
  bed.api.dropWatches("reset");
  await until(() => bed.requests("list") >= 2, "another listing");
  fault[Symbol.dispose]();
  await bed.works(4);
  assert.deepEqual(bed.seen(), ["node-2", "node-3", "node-4"]);
  assert.equal(bed.warnings().length, 2, bed.log.text);
});

test("a watch whose first event is cut off in the middle", async (t) => {
  const bed = await makeBed(t);
  bed.api.inject({ verb: "watch", answer: "truncate" });
  bed.api.dropWatches("reset");
  await bed.works(4);
  bed.api.nodes.patch("node-2", annotated({ "public-ip": "192.168.0.22" }));
  await bed.works(5);
  assert.deepEqual(bed.seen(), ["node-2", "node-3", "node-4", "node-5"]);
});

test("the API server away and back: peers stay, one line when it goes, one when it is back, nothing is missed", async (t) => {
  const bed = await makeBed(t);
  await bed.line.cut();
  await until(() => bed.warnings().length === 1, "the line");
  bed.api.nodes.delete("node-2");
  addPeer(bed.api, 4);
  assert.deepEqual(bed.seen(), ["node-2", "node-3"]);
  await bed.line.restore();
  await until(() => bed.seen().join() === "node-3,node-4", "what happened meanwhile");
  assert.equal(bed.warnings().length, 1, bed.log.text);
  assert.match(bed.log.text, /Watch on the nodes in Kubernetes restored after/);
  assert.equal(bed.requests("list"), 1);
});

test("with an own lease an outage is reported once, not by each watch", async (t) => {
  const bed = await makeBed(t);
  await bed.store.acquire({ network: NETWORK, attributes: attributesOf(1), previous: undefined });
  await until(() => bed.api.watchCount === 2, "both watches");
  await bed.line.cut();
  await until(() => bed.warnings().length >= 1, "the line");
  await bed.line.restore();
  await until(() => bed.api.watchCount === 2, "both watches again");
  await bed.works(4);
  assert.equal(bed.warnings().length, 1, bed.log.text);
});

test("a watch that has fallen silent is noticed: bookmarks fail to come", async (t) => {
  const bed = await makeBed(t, { bookmarkIntervalMs: 50, options: { timings: { watchSilenceMs: 400 } } });
  await bed.works(4);
  await new Promise((resolve) => setTimeout(resolve, 100)); // a bookmark: nothing shows it
  bed.line.silence();
  await until(() => bed.warnings().length === 1, "the silence to be noticed");
  addPeer(bed.api, 5);
  await bed.line.restore();
  await until(() => bed.watch.table.get("node-5") !== undefined, "what happened meanwhile");
  assert.match(bed.log.text, /is connected, but does not answer/);
});

test("a request that hangs ends; a connection that breaks is tried again", async (t) => {
  const bed = await makeBed(t, { options: { timings: { dialTimeoutMs: 100, requestTimeoutMs: 200 } } });
  bed.api.inject({ verb: "get", answer: "hang" });
  await assert.rejects(
    bed.store.readHost(),
    (error) => hasCode(error, "UNAVAILABLE") && /but does not answer/.test(String(error)),
  );
  bed.api.inject({ verb: "get", answer: "truncate" });
  await assert.rejects(bed.store.readHost(), (error) => hasCode(error, "UNAVAILABLE"));
  await bed.store.readHost();
  bed.api.inject({ verb: "watch", answer: "hang" });
  bed.api.dropWatches();
  await bed.works(4);
});

test("addresses of this host changed: its connections are given up at once", async (t) => {
  const bed = await makeBed(t);
  bed.line.silence();
  await bed.line.restore(); // old connections stay silent
  addPeer(bed.api, 4);
  bed.store.addressesChanged?.();
  await until(() => bed.watch.table.get("node-4") !== undefined, "what happened meanwhile");
});

test("500 to the list and the watch: tried again until it works", async (t) => {
  const bed = await makeBed(t);
  await bed.works(5);
  bed.api.inject({ verb: "list", times: 3, answer: { status: 500 } });
  bed.api.inject({ verb: "watch", times: 2, answer: { status: 500 } });
  bed.api.dropWatches("expired");
  await bed.works(4);
  assert.equal(bed.warnings().length, 1, bed.log.text);
  assert.match(bed.log.text, /W Watch on .* lost.* failed to list nodes: HTTP 500, Internal Server Error/);
});

test("429 and 503 with Retry-After: waits as requested, and continues", async (t) => {
  const bed = await makeBed(t);
  for (const status of [429, 503]) {
    bed.api.inject({ verb: "get", answer: { status, headers: { "retry-after": "1" } } });
    const sinceMs = performance.now();
    await bed.store.readHost();
    const tookMs = performance.now() - sinceMs;
    assert.ok(tookMs >= 990 && tookMs < 3_000, String(tookMs));
  }
  bed.api.inject({ verb: "get", answer: { status: 429 } });
  await assert.rejects(
    bed.store.readHost(),
    (error) => hasCode(error, "UNAVAILABLE") && /HTTP 429, Too Many Requests/.test(String(error)),
  );
  assert.deepEqual(bed.warnings(), []);
});

test("all nodes come in one answer from the server's memory; if that is older than what is known, page by page from etcd", async (t) => {
  const bed = await makeBed(t, { peers: Array.from({ length: 1_200 }, (_, index) => index + 2) });
  assert.equal(bed.requests("list"), 1);
  assert.equal(bed.watch.updates.length, 1);
  // As if another server, which lags behind, answered from now on.
  bed.api.sendToWatches('{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"999999999"}}}\n');
  bed.api.dropWatches("expired");
  await until(() => bed.watch.snapshots === 2, "the listing");
  assert.equal(bed.requests("list"), 2 + 3);
  assert.equal(bed.watch.table.size, 1_200);
  await bed.works(3_000);
});

test("a listing that expires between two pages begins again, and is reported once complete", async (t) => {
  const bed = await makeBed(t, { peers: Array.from({ length: 700 }, (_, index) => index + 2) });
  const page = '{"metadata":{"resourceVersion":"1","continue":"gone"},"items":[]}';
  bed.api.inject({ verb: "list", answer: { status: 200, body: page } });
  bed.api.dropWatches("expired");
  await until(() => bed.watch.snapshots === 2, "the listing");
  assert.equal(bed.watch.table.size, 700);
  await bed.works(900);
});

test("answers that are no Kubernetes API's are refused with a hint", async (t) => {
  const bed = await makeBed(t);
  for (const body of [
    "<html>",
    "{}",
    '{"kind":"NodeList","items":{}}',
    "7",
    '{"metadata":{"resourceVersion":"1"},"items":[{]}',
  ]) {
    bed.api.inject({ verb: "list", answer: { status: 200, body } });
    const warnings = bed.warnings().length;
    bed.api.dropWatches("expired");
    await until(() => bed.warnings().length > warnings, body);
    await until(() => bed.api.watchCount === 1, "the watch again");
  }
  assert.match(bed.log.text, /list of nodes is malformed; check its address/);
  bed.api.inject({ verb: "get", answer: { status: 200, body: "<html>" } });
  await assert.rejects(bed.store.readHost(), /returned no JSON; check its address/);
  bed.api.inject({ verb: "get", answer: { status: 200, body: '{"kind":"Node"}' } });
  await assert.rejects(bed.store.readHost(), /an object that is not a node/);
});

test("a server whose data are older than what is known: everything is listed again", async (t) => {
  const bed = await makeBed(t);
  bed.api.sendToWatches('{"type":"BOOKMARK","object":{"kind":"Node","metadata":{"resourceVersion":"1"}}}\n');
  await until(() => bed.watch.snapshots === 2, "the second listing");
  await bed.works(4);
});
