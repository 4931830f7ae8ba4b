/**
 * The status server of a real flanneld under hostile clients and hostile leases: it answers or cuts them, goes on answering
 * others, shows nothing unescaped, and has released everything afterwards.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { PeerReport, Status } from "../../src/status/api.ts";
import { askDaemon } from "../../src/status/status-client.ts";
import { startEtcd } from "../support/etcd.ts";
import { askHealth, readyFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

async function start(
  t: TestContext,
  leases: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
) {
  const etcd = await startEtcd();
  t.after(() => etcd[Symbol.asyncDispose]());
  await etcd.ctl("put", "/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  for (const [key, value] of Object.entries(leases))
    await etcd.ctl("put", `/coreos.com/network/subnets/${key}`, value);
  const [host] = await makeHosts(t, etcd, 1);
  const { flanneld } = await readyFlanneld(t, host!, { args });
  const socket = join(host!.directory, "flanneld.sock");
  await flanneld.logged(new RegExp(`Status server on ${socket}`));
  return { flanneld, socket, host: host! };
}

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** All that comes back until the server closes; "" if it answers nothing. */
async function exchange(socketPath: string, bytes: string | Buffer): Promise<string> {
  const client = connect(socketPath).on("error", () => {});
  let answer = "";
  client.on("data", (chunk: Buffer) => {
    answer += chunk.toString("latin1");
  });
  client.end(bytes);
  await once(client, "close");
  return answer;
}

const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? 0);

test("malformed and oversized requests are refused, and nothing outside of the API is reached", async (t) => {
  const { flanneld, socket } = await start(t);
  const before = descriptors(flanneld.pid);
  const get = (path: string, headers = "Host: localhost\r\nConnection: close\r\n") =>
    `GET ${path} HTTP/1.1\r\n${headers}\r\n`;
  for (const [bytes, expected] of [
    ["\0\xff\xfe junk\r\n\r\n", [400]],
    ["GET /v1/status HTTP/9.9\r\nHost: localhost\r\n\r\n", [400, 505]],
    [get("/v1/status", `Host: localhost\r\nX: ${"x".repeat(20_000)}\r\n`), [431]],
    [get("/v1/status", "Host: localhost\r\nHost: evil.example\r\nConnection: close\r\n"), [400, 200]],
    [get("/v1/status", "Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"), [400]],
    [get("http://evil.example/v1/status"), [404]],
    [get("/v1/peers/..%2f..%2f..%2fetc%2fpasswd"), [404]],
    [get("/v1/peers/%00%0d%0aSet-Cookie:x"), [404]],
    [get(`/v1/peers/${"%41".repeat(2_000)}`), [404]],
    [get("/v1/../../etc/passwd"), [404]],
    [get("/v1/status", "Host: evil.example\r\nConnection: close\r\n"), [403]],
    [get("/v1/status", "Host: localhost\r\nOrigin: null\r\nConnection: close\r\n"), [403]],
    ["CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n", [0]],
    ["DELETE /v1/lease HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", [405]],
    [get("/v1/events?follow=%00"), [400]],
  ] as const) {
    const answer = await exchange(socket, Buffer.from(bytes, "latin1"));
    assert.ok((expected as readonly number[]).includes(statusOf(answer)), `${bytes.slice(0, 60)}: ${answer}`);
    assert.doesNotMatch(answer, /root:|Set-Cookie|^HTTP\/1\.1 5/m);
  }
  // Many requests in one write are answered in order, or cut; never with memory for all of them.
  const pipelined = await exchange(
    socket,
    `${get("/v1/status", "Host: localhost\r\n").repeat(500)}${get("/")}`,
  );
  assert.equal(statusOf(pipelined), 200);
  await until(() => descriptors(flanneld.pid) <= before, "the connections to be closed");
  assert.equal((await askDaemon<Status>(socket, "/v1/status")).isReady, true);
});

test("an unusable token keeps the port closed, is logged with the remedy, and the socket is served meanwhile", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), `flannel-token-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "token");
  const token = "0123456789abcdef0123456789abcdef";
  writeFileSync(file, token, { mode: 0o644 });
  const { flanneld, socket, host } = await start(t, {}, [`--status-token-file=${file}`]);
  await flanneld.logged(/Status server not started on 127\.0\.0\.1 port 7000; retrying: .*: chmod 600 /);
  assert.equal(await askHealth(host, 7000, "/v1/status"), undefined);
  assert.equal((await askDaemon<Status>(socket, "/v1/status")).isReady, true);
  chmodSync(file, 0o600);
  await flanneld.logged(/Status server on 127\.0\.0\.1 port 7000$/, { deadlineMs: 20_000 });
  assert.equal((await askHealth(host, 7000, "/v1/status"))?.status, 401);
  assert.ok(!flanneld.log().includes(token));
});

test("slowloris: clients that drip their requests are cut, while others are answered", async (t) => {
  const { flanneld, socket } = await start(t);
  const before = descriptors(flanneld.pid);
  const slow = Array.from({ length: 150 }, (): Socket => connect(socket).on("error", () => {}));
  let closed = 0;
  for (const client of slow) {
    client.resume().once("close", () => closed++);
    client.write("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX: ");
  }
  const drip = setInterval(() => {
    for (const client of slow) client.write("x");
  }, 200);
  t.after(() => clearInterval(drip));
  await until(() => descriptors(flanneld.pid) >= before + 150, "the clients");
  let answered = 0;
  await until(
    async () => {
      assert.equal((await askDaemon<Status>(socket, "/v1/status")).isReady, true);
      answered++;
      return closed === slow.length;
    },
    "the slow clients to be cut",
    20_000,
  );
  assert.ok(answered > 10, `${answered} answers meanwhile`);
  await until(() => descriptors(flanneld.pid) <= before, "their connections to be closed");
});

test("hostile leases are escaped in every answer", async (t) => {
  const evil = `<img src=x onerror=alert(1)>"} 1\\nfake_metric 7\\u0000\\u001b[31m\\u202e\\u2028`;
  const lease = `{"PublicIP":"192.168.7.9","BackendType":"${evil.replace('"}', '\\"}')}","BackendData":{"VNI":"${evil.replace('"}', '\\"}')}"}}`;
  const { socket } = await start(t, {
    "10.5.77.0-24": lease,
    "10.5.78.0-24": '{"PublicIP":"192.168.7.8","BackendType":"vxlan","BackendData":{"VtepMAC":"</script>"}}',
    '10.5.79.0-24"}\nfake_metric 8': lease,
  });
  const peers = () => askDaemon<PeerReport[]>(socket, "/v1/peers");
  await until(async () => (await peers()).length === 2, "the peers");
  assert.ok(
    (await peers()).some(({ backend }) => backend.includes("fake_metric 7")),
    "it is shown as it is",
  );
  for (const path of [
    "/v1/status",
    "/v1/routes",
    "/v1/peers",
    "/v1/peers/10.5.77.0-24",
    "/v1/plan",
    "/metrics",
  ]) {
    const request = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    const answer = Buffer.from(await exchange(socket, request), "latin1").toString("utf8");
    const [head = "", body = ""] = answer.split(/\r\n\r\n(.*)/s);
    assert.match(head, /^HTTP\/1\.1 200 [\s\S]*X-Content-Type-Options: nosniff/, path);
    assert.doesNotMatch(head, /text\/html/i);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    assert.doesNotMatch(body.replaceAll("\r", ""), /[\x00-\x09\x0b-\x1f\u202e\u2028]/, path);
    assert.doesNotMatch(body, /^fake_metric/m, path);
  }
});
