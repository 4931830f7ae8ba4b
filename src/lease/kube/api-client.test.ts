import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import { hasCode } from "../../base/error.ts";
import { silentLogger } from "../../base/logger.ts";
import { systemTimers } from "../../base/timers.ts";
import { KubeApiServer } from "../../kube-server/kube-api-server.ts";
import { makeNode } from "../../kube-server/objects/node-object.ts";
import type { ApiAccess } from "./api-access.ts";
import { ApiClient } from "./api-client.ts";
import { DEFAULT_TIMINGS } from "./kube-options.ts";
import { KUBE_RULES } from "./rbac.ts";

const READ = { verb: "get", resource: "nodes", name: "n1" } as const;

/** A client whose token is what `tokens` gives, one after the other. */
async function makeBed(tokens: string[]) {
  const api = await KubeApiServer.start({ tokens: [{ token: "good", user: "flannel", rules: KUBE_RULES }] });
  api.nodes.create(makeNode("n1"));
  const refused: (string | undefined)[] = [];
  const access: ApiAccess = {
    url: api.url,
    readTls: undefined,
    async authorize(header) {
      refused.push(header);
      return `Bearer ${tokens.length > 1 ? tokens.shift() : tokens[0]}`;
    },
    identity: "a test",
    notes: [],
  };
  const client = new ApiClient(access, DEFAULT_TIMINGS, { logger: silentLogger, timers: systemTimers });
  return {
    api,
    client,
    refused,
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await api[Symbol.asyncDispose]();
    },
  };
}

test("a rejected token is replaced by another within the same call", async () => {
  await using bed = await makeBed(["old", "good"]);
  await bed.client.call(READ);
  assert.deepEqual(
    bed.api.requests.map(({ status }) => status),
    [401, 200],
  );
  assert.deepEqual(bed.refused, [undefined, "Bearer old"]);
});

test("a rejected token is not sent again while there is no other", async () => {
  await using bed = await makeBed(["old"]);
  await assert.rejects(
    bed.client.call(READ),
    (error) =>
      hasCode(error, "UNAUTHENTICATED") && /invalid or expired credentials: a test$/.test(String(error)),
  );
  assert.equal(bed.api.requests.length, 1);
});

test("a connection with rejected credentials is not reused: a renewed certificate needs a new one", async () => {
  const connections = new Set<Socket>();
  await using server = createServer((request, response) => {
    connections.add(request.socket);
    response.writeHead(connections.size > 1 ? 200 : 401, { "content-type": "application/json" }).end("{}");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const access: ApiAccess = {
    url: `http://127.0.0.1:${port}`,
    readTls: undefined,
    authorize: async () => undefined,
    identity: "a certificate",
    notes: [],
  };
  using client = new ApiClient(access, DEFAULT_TIMINGS, { logger: silentLogger, timers: systemTimers });
  await assert.rejects(client.call(READ), (error) => hasCode(error, "UNAUTHENTICATED"));
  await client.call(READ);
  await client.call(READ);
  assert.equal(connections.size, 2);
});

test("an http:// URL of a TLS server: the message recommends https://", async () => {
  await using server = createServer();
  server.on("connection", (socket) => socket.destroy());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const access: ApiAccess = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    readTls: undefined,
    authorize: async () => undefined,
    identity: "none",
    notes: [],
  };
  using client = new ApiClient(access, DEFAULT_TIMINGS, { logger: silentLogger, timers: systemTimers });
  await assert.rejects(client.call(READ), /the connection broke; if it serves TLS, write https:\/\/$/);
});

test("a second rejected token ends the attempt", async () => {
  await using bed = await makeBed(["old", "new", "good"]);
  await assert.rejects(bed.client.call(READ), (error) => hasCode(error, "UNAUTHENTICATED"));
  assert.equal(bed.api.requests.length, 2);
});

test("an idle connection that the server closed is replaced without a log line", async () => {
  await using bed = await makeBed(["good"]);
  await bed.client.call(READ);
  bed.api.inject({ verb: "get", answer: "reset" });
  await bed.client.call(READ);
  assert.equal(bed.client.requestCount, 3);
});

test("names are escaped in paths", async () => {
  await using bed = await makeBed(["good"]);
  await assert.rejects(
    bed.client.call({ ...READ, name: "n1/status?x=/../y" }),
    (error) => hasCode(error, "NOT_FOUND") || hasCode(error, "INVALID"),
  );
  assert.ok(bed.api.requests.every(({ status }) => status !== 200));
});

test("a closed client rejects requests, and leaves none hanging", async () => {
  await using bed = await makeBed(["good"]);
  bed.api.inject({ verb: "get", answer: "hang" });
  const calling = bed.client.call(READ);
  bed.client[Symbol.dispose]();
  await assert.rejects(calling, /the store is closed/);
});
