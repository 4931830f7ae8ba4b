/** The v2 store's errors for servers without etcd's v2 API and for truncated answers. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { describe, it } from "node:test";
import { hasCode, messageOf, type StoreErrorCode } from "../../src/base/error.ts";
import type { EtcdOptions } from "../../src/lease/etcd/etcd-options.ts";
import { startEtcd } from "../support/etcd.ts";
import { openEtcd2Store } from "../support/etcd-store.ts";

const read = async (endpoint: string, options?: Partial<EtcdOptions>) => {
  await using opened = openEtcd2Store(endpoint, options);
  return await opened.store.readNetworkConfig();
};

async function refused(attempt: Promise<unknown>, code: StoreErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.match(messageOf(error), message);
    assert.ok(hasCode(error, code), messageOf(error));
    return true;
  });
}

describe("a server without etcd's v2 API", () => {
  /** Runs `use` with the address of a web server that sends this answer. */
  async function withServer(answer: RequestListener, use: (url: string) => Promise<void>): Promise<void> {
    const server = createServer(answer).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    try {
      await use(`http://127.0.0.1:${typeof address === "object" ? address?.port : address}`);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  it("an etcd without it: the message names the remedy", async () => {
    await using etcd = await startEtcd();
    await refused(
      read(etcd.endpoint),
      "UNAVAILABLE",
      /no v2 API: start it with --enable-v2=true, or use --datastore=etcd3/,
    );
  });

  it("another web server", async () => {
    const page: RequestListener = (_, response) => response.end("<html>It works!</html>");
    await withServer(page, (url) =>
      refused(read(url), "INVALID", /none of etcd's v2 API: is the address right/),
    );
    const json: RequestListener = (_, response) =>
      response.end('{"action":"get","node":{"key":"/","modifiedIndex":1,"createdIndex":1}}');
    await withServer(json, (url) => refused(read(url), "INVALID", /none of etcd's v2 API/));
    const elsewhere: RequestListener = (_, response) => response.writeHead(307, { location: "/" }).end();
    await withServer(elsewhere, (url) => refused(read(url), "INVALID", /HTTP 307/));
    const ill: RequestListener = (_, response) =>
      response.writeHead(500).end('{"message":"Internal Server Error"}');
    await withServer(ill, (url) => refused(read(url), "UNAVAILABLE", /HTTP 500/));
  });

  it("an endless or truncated answer", async () => {
    const endless: RequestListener = (_, response) => {
      const block = Buffer.alloc(1 << 20, " ");
      const more = () => {
        while (!response.destroyed && response.write(block));
      };
      response.on("drain", more);
      more();
    };
    await withServer(endless, (url) => refused(read(url), "INVALID", /longer than 64 MiB/));
    const half: RequestListener = (_, response) => void response.write('{"action":');
    await withServer(half, (url) =>
      refused(read(url, { timings: { requestTimeoutMs: 100 } }), "UNAVAILABLE", /did not answer in time/),
    );
    const broken: RequestListener = (_, response) => void response.write("{", () => response.destroy());
    await withServer(broken, (url) => refused(read(url), "UNAVAILABLE", /the connection broke/));
  });
});
