/**
 * An HTTP server that anyone may reach: connections are few, short and bounded, and a client that sends a request byte by
 * byte or does not read its answer is cut.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { ServerOptions } from "node:https";
import type { Server as NetServer } from "node:net";
import { messageOf } from "../base/error.ts";

/** Far above what probes, load balancers and monitoring need. */
const MAX_CONNECTIONS = 256;
const MAX_HEADER_BYTES = 8 * 1024;
/** For a whole request, from its first byte (or from the connection) to its last. */
const REQUEST_TIMEOUT_MS = 5_000;
/** How often requests are checked for that. */
const CHECK_INTERVAL_MS = 1_000;
/** Between two requests of a connection, and for a client that does not read its answer. */
export const IDLE_TIMEOUT_MS = 30_000;
const MAX_REQUESTS_PER_CONNECTION = 1_000;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** What is needed to serve TLS: node:https, which is loaded by those who use it, and its options. */
export interface TlsSettings {
  readonly https: typeof import("node:https");
  readonly options: ServerOptions;
}

/** Answers GET and HEAD with `answer`, which may throw: that is an answer too, never the end of the process. */
export function createBoundedServer(answer: Answer, tls?: TlsSettings): Server {
  const limits = {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: REQUEST_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
  };
  const listener = (request: IncomingMessage, response: ServerResponse) =>
    answerSafely(request, response, answer);
  const server =
    tls === undefined
      ? createServer(limits, listener)
      : tls.https.createServer({ ...limits, ...tls.options, handshakeTimeout: REQUEST_TIMEOUT_MS }, listener);
  server.maxConnections = MAX_CONNECTIONS;
  server.maxRequestsPerSocket = MAX_REQUESTS_PER_CONNECTION;
  server.setTimeout(IDLE_TIMEOUT_MS);
  return server;
}

/** Starts to listen. Rejects with the system's error. */
export async function listen(
  server: NetServer,
  where: { readonly host: string; readonly port: number } | { readonly path: string },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(where, resolve);
  await promise;
  server.off("error", reject);
  server.on("error", () => {}); // failed to accept a connection: the client sees it
}

/** Closes at once, including open connections: a hanging client must not delay the shutdown of the daemon. */
export async function closeServer(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeAllConnections();
  await promise;
}

/** The path of a request, without its query. */
export const pathOf = (request: IncomingMessage): string => request.url?.replace(/\?.*/s, "") ?? "";

/** The query of a request. */
export const queryOf = (request: IncomingMessage): URLSearchParams =>
  new URLSearchParams(/\?.*/s.exec(request.url ?? "")?.[0]);

/** Headers of every answer. */
export const headersOf = (type: string): Record<string, string> => ({
  "Content-Type": `${type}; charset=utf-8`,
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
});

/** Sends a whole answer. `type` is a media type of text, without its charset. */
export function send(response: ServerResponse, status: number, body: string, type = "text/plain"): void {
  response.writeHead(status, { ...headersOf(type), "Content-Length": Buffer.byteLength(body) });
  response.end(body); // node:http omits the body for HEAD
}

function answerSafely(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  response.on("error", () => {});
  try {
    request.resume(); // a body is ignored
    if (request.method === "GET" || request.method === "HEAD") answer(request, response);
    else {
      response.setHeader("Allow", "GET, HEAD");
      send(response, 405, "only GET and HEAD are allowed\n");
    }
  } catch (error) {
    if (response.headersSent) response.destroy();
    else send(response, 500, `failed to answer: ${messageOf(error)}\n`);
  }
}
