/**
 * The socket at which `wg` asks a userspace WireGuard device: /var/run/wireguard/<device>.sock, for root only, because the
 * answer has the private key.
 */

import { chmodSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { makeDirectory } from "../base/make-directory.ts";
import { MOST_REQUEST_CHARS } from "../wireguard/uapi.ts";

/** Where wg(8) looks. */
export const UAPI_DIRECTORY = "/var/run/wireguard";
const IDLE_MS = 5_000;

export interface UapiOptions {
  readonly directory: string;
  readonly device: string;
  readonly logger: Logger;
  /** The answer to a request. */
  readonly answer: (request: string) => Promise<string>;
}

/** Serves it; the returned function ends that. A failure is logged: the device works without. */
export function serveUapi({ directory, device, logger, answer }: UapiOptions): () => void {
  const path = join(directory, `${device}.sock`);
  const connections = new Set<Socket>();
  let isClosed = false;
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    serve(socket, answer);
  });
  server.on("error", (error) => {
    logger.warn(`Failed to serve ${path}, so that 'wg show' does not see ${device}: ${messageOf(error)}`);
  });
  server.unref();
  const probe = connect(path);
  probe.on("connect", () => {
    probe.destroy();
    logger.warn(`Another process serves ${path}; 'wg show' sees its ${device}, not this one`);
  });
  // Nobody listens there: the file, if there is one, is of a process that ended.
  probe.on("error", () => {
    if (!isClosed) listen(server, directory, path);
  });
  return () => {
    isClosed = true;
    server.close(() => {});
    for (const socket of connections) socket.destroy();
  };
}

function listen(server: Server, directory: string, path: string): void {
  const before = process.umask(0o077);
  try {
    makeDirectory(directory, 0o700);
    rmSync(path, { force: true });
    server.listen(path);
    chmodSync(path, 0o600);
  } catch (error) {
    server.emit("error", error);
  } finally {
    process.umask(before);
  }
}

function serve(socket: Socket, answer: (request: string) => Promise<string>): void {
  let text = "";
  socket.setEncoding("utf8");
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: string) => {
    text += chunk;
    const end = text.indexOf("\n\n");
    if (end < 0 && text.length <= MOST_REQUEST_CHARS) return;
    socket.removeAllListeners("data");
    void answer(text.slice(0, Math.max(0, end))).then(
      (reply) => socket.end(reply),
      () => socket.destroy(),
    );
  });
}
