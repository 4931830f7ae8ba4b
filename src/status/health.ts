/**
 * The health server, for probes: `/healthz` reports that flanneld runs, `/readyz` whether the host is in sync, and if
 * not, why. Readiness is evaluated for each request, so it is lost again when something breaks (W36). An unavailable
 * datastore is a note, no reason: packets are forwarded by the last known state. Reports (JSON) are for this host only,
 * because they may name its processes; see host-header.ts.
 *
 * Anyone may reach the port, so connections are few, short and bounded: a client that sends a request byte by byte or
 * does not read its answer is cut.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { formatIp, type Ip } from "../address/ip.ts";
import { ConfigError, hasCode, messageOf } from "../base/error.ts";
import { namesThisHost } from "./host-header.ts";

export interface HealthOptions {
  readonly ip: Ip;
  /** TCP port; 0 lets the kernel choose (for tests: as a flag it means “off”). */
  readonly port: number;
  /** Why this host is not ready, one line each; empty = ready. Must be quick. */
  readonly notReadyReasons: () => readonly string[];
  /** What an operator should know although it does not make the host unready, one line each. Must be quick. */
  readonly notes: () => readonly string[];
  /** Further paths, such as `/drift`, and what they answer as JSON. */
  readonly reports: Readonly<Record<string, () => unknown>>;
}

/** Far above what probes and load balancers need. */
const MAX_CONNECTIONS = 256;
const MAX_HEADER_BYTES = 8 * 1024;
/** For a whole request, from its first byte (or from the connection) to its last. */
const REQUEST_TIMEOUT_MS = 5_000;
/** How often requests are checked for that. */
const CHECK_INTERVAL_MS = 1_000;
/** Between two requests of a connection, and for a client that does not read its answer. */
const IDLE_TIMEOUT_MS = 30_000;
const MAX_REQUESTS_PER_CONNECTION = 1_000;

export class HealthServer implements AsyncDisposable {
  readonly #server: Server;

  /** Starts to listen. Throws ConfigError if the address is in use, foreign or not permitted. */
  static async start(options: HealthOptions): Promise<HealthServer> {
    const limits = {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
    };
    const server = createServer(limits, (request, response) => answerSafely(request, response, options));
    server.maxConnections = MAX_CONNECTIONS;
    server.maxRequestsPerSocket = MAX_REQUESTS_PER_CONNECTION;
    server.setTimeout(IDLE_TIMEOUT_MS);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ host: formatIp(options.ip), port: options.port }, resolve);
    try {
      await promise;
    } catch (error) {
      throw new ConfigError(explainListenError(error, options), { cause: error });
    }
    server.off("error", reject);
    server.on("error", () => {}); // failed to accept a connection: the client sees it
    return new HealthServer(server);
  }

  private constructor(server: Server) {
    this.#server = server;
  }

  /** The TCP port it listens on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Closes at once, including open connections: a hanging probe must not delay the shutdown of the daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }
}

/** A report that fails is an answer too, never the end of the process. */
function answerSafely(request: IncomingMessage, response: ServerResponse, options: HealthOptions): void {
  response.on("error", () => {});
  try {
    answer(request, response, options);
  } catch (error) {
    if (response.headersSent) response.destroy();
    else send(response, 500, `failed to answer: ${messageOf(error)}\n`);
  }
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { notReadyReasons, notes, reports }: HealthOptions,
): void {
  request.resume(); // a body is ignored
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD");
    send(response, 405, "only GET and HEAD are allowed\n");
    return;
  }
  const path = request.url?.replace(/\?.*/s, "") ?? "";
  switch (path) {
    case "/healthz":
      send(response, 200, "flanneld is running");
      return;
    case "/readyz": {
      const reasons = notReadyReasons();
      const verdict = reasons.length === 0 ? "flanneld is ready" : "flanneld is not ready yet";
      const lines = [verdict, ...reasons, ...notes()];
      send(
        response,
        reasons.length === 0 ? 200 : 503,
        lines.length === 1 ? verdict : `${lines.join("\n")}\n`,
      );
      return;
    }
    default:
      if (!Object.hasOwn(reports, path))
        send(response, 404, `try /healthz, /readyz, ${Object.keys(reports).join(", ")}\n`);
      else if (!isFromThisHost(request))
        send(response, 403, `${path} is for this host only; request it from there\n`);
      else if (!namesThisHost(request.headers.host))
        send(response, 403, `${path} is for this host only; request it by IP address or as localhost\n`);
      else send(response, 200, `${JSON.stringify(reports[path]!())}\n`, "application/json");
  }
}

/** A client with the same address as the server is on this host, on loopback or on any other address. */
const isFromThisHost = ({ socket }: IncomingMessage): boolean => socket.remoteAddress === socket.localAddress;

function send(response: ServerResponse, status: number, body: string, type = "text/plain"): void {
  response.writeHead(status, {
    "Content-Type": `${type}; charset=utf-8`,
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body); // node:http omits the body for HEAD
}

function explainListenError(error: unknown, { ip, port }: HealthOptions): string {
  const place = `health server failed to listen on ${formatIp(ip)} port ${port}`;
  if (hasCode(error, "EADDRINUSE"))
    return `${place}: the port is in use; choose another --healthz-port or --healthz-ip`;
  if (hasCode(error, "EADDRNOTAVAIL"))
    return `${place}: this host does not have that address; correct --healthz-ip`;
  if (hasCode(error, "EACCES"))
    return `${place}: not permitted; choose a --healthz-port above 1023 or run as root`;
  return `${place}: ${messageOf(error)}`;
}
