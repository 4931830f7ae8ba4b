import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ConfigError } from "../base/error.ts";
import { closeServer } from "./bounded-server.ts";
import { listenOnSocket } from "./unix-socket.ts";

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "flannel-socket-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function serve(t: TestContext, path: string): Promise<void> {
  const server = createServer((_, response) => response.end("here"));
  await listenOnSocket(server, path);
  t.after(() => closeServer(server));
}

const isRefused = (path: string, problem: RegExp) =>
  assert.rejects(
    listenOnSocket(createServer(), path),
    (error) => error instanceof ConfigError && problem.test(error.message),
  );

test("only the owner can use the socket, whatever the umask, and its directory is made", async (t) => {
  const path = join(directory(t), "a", "flanneld.sock");
  const before = process.umask(0);
  t.after(() => process.umask(before));
  await serve(t, path);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(process.umask(0), 0);
  const [response] = await once(request({ socketPath: path, path: "/" }).end(), "response");
  assert.equal(response.statusCode, 200);
  response.resume();
});

test("a live socket is not replaced", async (t) => {
  const path = join(directory(t), "flanneld.sock");
  await serve(t, path);
  await isRefused(path, /another process serves it/);
  assert.ok(existsSync(path));
});

test("the socket of a process that was killed is replaced", async (t) => {
  const path = join(directory(t), "flanneld.sock");
  const script = join(directory(t), "hold.mjs");
  writeFileSync(
    script,
    `import { createServer } from "node:net"; createServer().listen(${JSON.stringify(path)}, () => process.send("up"));`,
  );
  const child = fork(script, { execArgv: [] });
  await once(child, "message");
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.ok(existsSync(path), "the file is there, without a listener");
  await serve(t, path);
  const [response] = await once(request({ socketPath: path, path: "/" }).end(), "response");
  assert.equal(response.statusCode, 200);
  response.resume();
});

test("other files stay, and paths that the kernel would cut are refused", async (t) => {
  const path = join(directory(t), "flanneld.sock");
  writeFileSync(path, "precious");
  await isRefused(path, /not a socket; remove it/);
  assert.equal(statSync(path).size, 8);
  await isRefused(join(path, "below"), /ENOTDIR|EEXIST/);
  await isRefused(join(directory(t), "x".repeat(100)), /longer than 107 bytes/);
});
