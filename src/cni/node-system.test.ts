import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { hasCode } from "../base/error.ts";
import { nodeSystem } from "./node-system.ts";

async function listen(t: TestContext, answer: (socket: Socket, request: string) => void): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), `cni-socket-${process.pid}-`));
  const path = join(directory, "socket");
  const server = createServer((socket) => {
    socket.on("error", () => {}); // the client has closed it
    t.after(() => void socket.destroy());
    socket.setEncoding("utf8").on("data", (request: string) => answer(socket, request));
  });
  await once(server.listen(path), "listening");
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return path;
}

const code = (expected: string) => (error: unknown) => hasCode(error, expected);

test("a request on a Unix socket gets what the peer sends until it closes", async (t) => {
  const path = await listen(t, (socket, request) => {
    socket.write("a");
    socket.end(`${request}→`);
  });
  assert.equal(
    await nodeSystem().unixRequest(path, "GET / HTTP/1.0\r\n\r\n", 20_000),
    "aGET / HTTP/1.0\r\n\r\n→",
  );
});

test("a peer that is not there, does not answer or never stops is an error with its code", async (t) => {
  const { unixRequest } = nodeSystem();
  await assert.rejects(unixRequest("/nonexistent/socket", "x", 20_000), code("ENOENT"));
  await assert.rejects(unixRequest(await listen(t, () => {}), "x", 50), code("ETIMEDOUT"));
  const endless = await listen(t, (socket) => {
    const more = () => {
      while (socket.write("x".repeat(65_536)));
    };
    socket.on("drain", more);
    more();
  });
  await assert.rejects(unixRequest(endless, "x", 20_000), code("EMSGSIZE"));
});
