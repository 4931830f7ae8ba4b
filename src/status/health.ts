/**
 * The health server, for probes: `/healthz` says that flanneld runs, `/readyz` whether the host is as it should be, and
 * if not, why. Readiness is asked anew for each request, so it falls again when something breaks (W36). A datastore that
 * is away is named and no reason: packets flow by what is known. Reports, as JSON, are for this host only: they may name
 * its processes.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { formatIp, type Ip } from "../address/ip.ts";
import { ConfigError, hasCode, messageOf } from "../base/error.ts";

export interface HealthOptions {
  readonly ip: Ip;
  /** TCP port; 0 lets the kernel choose (for tests: as a flag it means “off”). */
  readonly port: number;
  /** Why this host is not ready, one line each; empty = ready. Must be quick. */
  readonly notReadyReasons: () => readonly string[];
  /** What an operator should know though it does not make the host unready, one line each. Must be quick. */
  readonly notes: () => readonly string[];
  /** What the paths beside these two answer, as JSON: `/drift`. */
  readonly reports: Readonly<Record<string, () => unknown>>;
}

export class HealthServer implements AsyncDisposable {
  readonly #server: Server;

  /** Starts to listen. Throws ConfigError if the address cannot be had. */
  static async start(options: HealthOptions): Promise<HealthServer> {
    const server = createServer((request, response) => answer(request, response, options));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ host: formatIp(options.ip), port: options.port }, resolve);
    try {
      await promise;
    } catch (error) {
      throw new ConfigError(explainListenError(error, options), { cause: error });
    }
    server.off("error", reject);
    server.on("error", () => {}); // a connection that could not be accepted: its client notices
    return new HealthServer(server);
  }

  private constructor(server: Server) {
    this.#server = server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Closes at once, connections that are open included: a probe that hangs must not delay the end of the daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { notReadyReasons, notes, reports }: HealthOptions,
): void {
  request.resume(); // a body is of no interest
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
        send(response, 403, `${path} is for this host only: ask from there\n`);
      else send(response, 200, `${JSON.stringify(reports[path]!())}\n`, "application/json");
  }
}

/** Whoever talks to us from the address that he talks to is on the same host: on loopback, or on any other address. */
const isFromThisHost = ({ socket }: IncomingMessage): boolean => socket.remoteAddress === socket.localAddress;

function send(response: ServerResponse, status: number, body: string, type = "text/plain"): void {
  response.writeHead(status, {
    "Content-Type": `${type}; charset=utf-8`,
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body); // node leaves the body out for HEAD
}

function explainListenError(error: unknown, { ip, port }: HealthOptions): string {
  const place = `the health server cannot listen on ${formatIp(ip)} port ${port}`;
  if (hasCode(error, "EADDRINUSE"))
    return `${place}: it is in use; choose another --healthz-port or --healthz-ip`;
  if (hasCode(error, "EADDRNOTAVAIL"))
    return `${place}: this host does not have that address; correct --healthz-ip`;
  if (hasCode(error, "EACCES"))
    return `${place}: not permitted; choose a --healthz-port above 1023 or run as root`;
  return `${place}: ${messageOf(error)}`;
}
