/** The TCP port with a token or with client certificates: who is answered, and what is refused at startup. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { makeCertificates } from "../../test/support/certificates.ts";
import { type Logger, silentLogger } from "../base/logger.ts";
import { readSecret, TokenFile } from "./access.ts";
import { listen } from "./bounded-server.ts";
import { EventLog } from "./event-log.ts";
import { type StatusAccess, StatusServer } from "./status-server.ts";
import type { StatusSource } from "./status-source.ts";
import { readTlsFiles } from "./tls-files.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const SOURCE = {
  version: "v1",
  events: new EventLog("run"),
  routes: () => [],
  drift: () => ({ counts: {}, entries: [] }),
} as unknown as StatusSource;

const start = (access: StatusAccess) =>
  StatusServer.start(SOURCE, (server) => listen(server, { host: "0.0.0.0", port: 0 }), access);

function directoryOf(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), `status-access-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

function tokenFile(t: TestContext, content: string): string {
  const path = join(directoryOf(t), "token");
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}

async function statusOf(
  { port }: StatusServer,
  path: string,
  headers: Record<string, string>,
  from = "127.0.0.1",
): Promise<number> {
  const sent = request({ host: "127.0.0.1", localAddress: from, port, path, headers, agent: false }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  await text(response);
  return response.statusCode!;
}

test("with a token only its holders are answered, and they may read drift from other hosts", async (t) => {
  const path = tokenFile(t, `${TOKEN}\n`);
  await using server = await start({ token: new TokenFile(path, silentLogger) });
  const wrong = ["", "Bearer", `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(1)}`, TOKEN, "Basic !!", "Bearer  "];
  for (const authorization of wrong)
    assert.equal(await statusOf(server, "/v1/routes", { authorization }), 401, authorization);
  assert.equal(await statusOf(server, "/nothing", {}), 401, "the paths are not listed either");
  const basic = `Basic ${Buffer.from(`any:${TOKEN}`).toString("base64")}`;
  for (const authorization of [`Bearer ${TOKEN}`, `bearer ${TOKEN}`, basic])
    assert.equal(await statusOf(server, "/v1/routes", { authorization }), 200, authorization);
  const host = "node1.example";
  const bearer = { authorization: `Bearer ${TOKEN}`, host };
  assert.equal(await statusOf(server, "/v1/drift", bearer, "127.0.0.2"), 200);
  // A browser sends a password by itself, so that it does not prove that the page knows it.
  assert.equal(await statusOf(server, "/v1/routes", { authorization: basic, host }), 403);
});

test("a token that is replaced needs no restart; an unusable one leaves the previous one valid, logged once", async (t) => {
  const path = tokenFile(t, TOKEN);
  const lines: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (line) => lines.push(line) };
  await using server = await start({ token: new TokenFile(path, logger) });
  const next = TOKEN.toUpperCase();
  const answers = async () => [
    await statusOf(server, "/v1/routes", { authorization: `Bearer ${TOKEN}` }),
    await statusOf(server, "/v1/routes", { authorization: `Bearer ${next}` }),
  ];
  writeFileSync(path, `${next}\n`);
  assert.deepEqual(await answers(), [401, 200]);
  writeFileSync(path, "short");
  assert.deepEqual(await answers(), [401, 200]);
  rmSync(path);
  writeFileSync(path, TOKEN);
  chmodSync(path, 0o604);
  assert.deepEqual(await answers(), [401, 200]);
  assert.equal(lines.length, 2);
  assert.match(lines[1]!, /every user of this host can read or change .*: chmod 600/);
  assert.doesNotMatch(lines.join(), new RegExp(`${TOKEN}|${next}|short`, "i"));
});

test("unusable token files are refused with what to do, and without their content", (t) => {
  const path = tokenFile(t, "");
  for (const [content, expected] of [
    ["", /does not contain one token of at least 16/],
    ["tooshort", /at least 16 letters and digits \(make one with: openssl rand -hex 32\)$/],
    ["two tokens of many characters", /does not contain one token/],
    ["x".repeat(5_000), /larger than 4096 bytes/],
  ] as const) {
    writeFileSync(path, content);
    const shows = (error: Error) =>
      expected.test(error.message) && !(content && error.message.includes(content));
    assert.throws(() => new TokenFile(path, silentLogger), shows, content.slice(0, 20));
  }
  assert.throws(
    () => new TokenFile(`${path}.missing`, silentLogger),
    /^ConfigError: --status-token-file: ENOENT/,
  );
  assert.throws(() => new TokenFile("/dev/zero", silentLogger), /every user|device/);
  writeFileSync(path, TOKEN);
  for (const mode of [0o644, 0o602]) {
    chmodSync(path, mode);
    assert.throws(() => readSecret("--status-token-file", path, 100), /chmod 600/);
  }
});

test("TLS with client certificates: only their holders are answered, and they may read drift", async () => {
  using made = makeCertificates();
  const files = { certFile: made.server.cert, keyFile: made.server.key, clientCaFile: made.ca };
  await using server = await start({ tls: files });
  const read = ({ cert, key }: { cert: string; key: string }) => ({
    cert: readFileSync(cert),
    key: readFileSync(key),
  });
  const ask = async (options: RequestOptions) => {
    const to = { host: "127.0.0.1", port: server.port, path: "/v1/drift", agent: false };
    const sent = httpsRequest({ ...to, ca: readFileSync(made.ca), ...options }).end();
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    await text(response);
    return response.statusCode;
  };
  assert.equal(await ask({ ...read(made.client), localAddress: "127.0.0.2" }), 200);
  await assert.rejects(ask({}));
  await assert.rejects(ask(read(made.stranger)));
  await assert.rejects(statusOf(server, "/v1/routes", {}), "plain HTTP");
  assert.equal(await ask(read(made.client)), 200, "the server survives them");
});

test("unusable TLS files are refused with the flag that names them", (t) => {
  using made = makeCertificates();
  const files = { certFile: made.server.cert, keyFile: made.server.key, clientCaFile: undefined };
  assert.throws(
    () => readTlsFiles({ ...files, keyFile: made.client.key }),
    /^ConfigError: --status-tls-key-file: /,
  );
  assert.throws(
    () => readTlsFiles({ ...files, certFile: made.server.key }),
    /^ConfigError: --status-tls-cert-file: /,
  );
  const junk = tokenFile(t, TOKEN);
  assert.throws(
    () => readTlsFiles({ ...files, clientCaFile: junk }),
    /^ConfigError: --status-tls-client-ca-file: /,
  );
  chmodSync(made.server.key, 0o644);
  assert.throws(() => readTlsFiles(files), /--status-tls-key-file: every user of this host can read/);
});
