/** Unit tests of the clouds' HTTP client, against servers on loopback. */

import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { hasCode, messageOf } from "../base/error.ts";
import { createDirectHttp, createHttp, type HttpAnswer, notUnderstood, retryAfterMsOf } from "./http.ts";

async function serve(listener: RequestListener): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const answer = (body: string, status = 200, headers: HttpAnswer["headers"] = {}): HttpAnswer => ({
  ...{ body, status, headers },
});

test("an answer of any status is a value", async () => {
  await using server = await serve((request, response) => {
    response.writeHead(403, { "x-id": "7" }).end(`${request.method} ${request.headers["x-what"]}`);
  });
  const url = new URL(`http://127.0.0.1:${server.port}/`);
  const got = await createDirectHttp()({ method: "POST", url, headers: { "x-what": "that" }, body: "é" });
  assert.deepEqual([got.status, got.body, got.headers["x-id"]], [403, "POST that", "7"]);
});

test("a server that does not answer is UNAVAILABLE after the timeout, and the message has no query", async () => {
  await using server = await serve(() => {});
  const url = new URL(`http://127.0.0.1:${server.port}/?token=secret`);
  await assert.rejects(createDirectHttp()({ method: "GET", url, timeoutMs: 50 }), (error) => {
    assert.ok(hasCode(error, "UNAVAILABLE"));
    assert.equal(messageOf(error), `127.0.0.1:${server.port} is unavailable: no answer within 0.05 s`);
    return true;
  });
});

test("a server that refuses the connection is UNAVAILABLE", async () => {
  const { port } = await serve(() => {}).then(async (server) => {
    await server[Symbol.asyncDispose]();
    return server;
  });
  const url = new URL(`http://127.0.0.1:${port}/`);
  await assert.rejects(createDirectHttp()({ method: "GET", url }), /is unavailable: .*ECONNREFUSED/);
});

test("an answer without an end is cut off", async () => {
  await using server = await serve((_request, response) => {
    const chunk = Buffer.alloc(1 << 20, 97);
    const more = (): void => {
      while (response.write(chunk));
    };
    response.on("drain", more);
    more();
  });
  const url = new URL(`http://127.0.0.1:${server.port}/`);
  await assert.rejects(createDirectHttp()({ method: "GET", url }), /longer than 8 MiB/);
});

test("requests go through the proxy of the environment, but not those of a direct client", async () => {
  const seen: string[] = [];
  await using proxy = await serve((request, response) => {
    seen.push(request.url!);
    response.end("from the proxy");
  });
  await using server = await serve((_request, response) => response.end("direct"));
  const environment = { HTTP_PROXY: `http://127.0.0.1:${proxy.port}` };
  const url = new URL(`http://127.0.0.1:${server.port}/x`);
  const send = createHttp(environment);
  assert.equal((await send({ method: "GET", url })).body, "from the proxy");
  assert.deepEqual(seen, [url.href]);
  assert.equal((await createDirectHttp()({ method: "GET", url })).body, "direct");
  const except = createHttp({ ...environment, NO_PROXY: "127.0.0.1" });
  assert.equal((await except({ method: "GET", url })).body, "direct");
});

test("requests by https ask the proxy for a tunnel; its password is in no error", async () => {
  const seen: string[] = [];
  const server = createServer();
  server.on("connect", (request, socket) => {
    seen.push(`${request.method} ${request.url}`);
    socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const send = createHttp({ HTTPS_PROXY: `http://user:secret@127.0.0.1:${port}` });
  await assert.rejects(send({ method: "GET", url: new URL("https://ec2.example/") }), (error) => {
    assert.ok(hasCode(error, "UNAVAILABLE"));
    assert.match(messageOf(error), /^ec2\.example is unavailable: /);
    assert.doesNotMatch(messageOf(error), /secret/);
    return true;
  });
  assert.deepEqual(seen, ["CONNECT ec2.example:443"]);
  server.close();
});

test("Retry-After is seconds or a date", () => {
  const now = Date.parse("Wed, 21 Oct 2026 07:28:00 GMT");
  const after = (value: string) => retryAfterMsOf(answer("", 503, { "retry-after": value }), now);
  assert.equal(after("120"), 120_000);
  assert.equal(after("Wed, 21 Oct 2026 07:28:30 GMT"), 30_000);
  assert.equal(after("Wed, 21 Oct 2026 07:27:00 GMT"), 0);
  assert.equal(after("soon"), undefined);
  assert.equal(retryAfterMsOf(answer(""), now), undefined);
});

test("HTML in place of the API's answer is named, with what to check", () => {
  const url = new URL("https://ec2.example/");
  const html = notUnderstood(url, answer("<!DOCTYPE html><title>Sign in</title>"), "XML");
  assert.equal(html.code, "NOT_UNDERSTOOD");
  assert.match(html.message, /^ec2\.example answered an HTML page with status 200; a proxy/);
  assert.equal(
    notUnderstood(url, answer("{", 200), "JSON").message,
    "ec2.example answered no JSON with status 200",
  );
  assert.equal(notUnderstood(url, answer("<html>", 502), "XML").code, "UNAVAILABLE");
});
