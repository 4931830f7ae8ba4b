/**
 * The health server, for probes: `/healthz` reports that flanneld runs, `/readyz` whether the host is in sync, and if
 * not, why. Readiness is evaluated for each request, so it is lost again when something breaks (W36). An unavailable
 * datastore is a note, no reason: packets are forwarded by the last known state. Reports (JSON) are for this host only,
 * because they may name its processes; see host-header.ts.
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { formatIp, type Ip } from "../address/ip.ts";
import { ConfigError, hasCode, messageOf } from "../base/error.ts";
import { closeServer, createBoundedServer, listen, pathOf, send } from "./bounded-server.ts";
import { namesThisHost } from "./host-header.ts";

/** Where the health server listens, and what it reports. */
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

/** The health server, from its start until it is disposed. */
export class HealthServer implements AsyncDisposable {
  readonly #server: Server;

  /** Starts to listen. Throws ConfigError if the address is in use, foreign or not permitted. */
  static async start(options: HealthOptions): Promise<HealthServer> {
    const server = createBoundedServer((request, response) => answer(request, response, options));
    try {
      await listen(server, { host: formatIp(options.ip), port: options.port });
    } catch (error) {
      throw new ConfigError(explainListenError(error, options), { cause: error });
    }
    return new HealthServer(server);
  }

  private constructor(server: Server) {
    this.#server = server;
  }

  /** The TCP port it listens on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await closeServer(this.#server);
  }
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { notReadyReasons, notes, reports }: HealthOptions,
): void {
  const path = pathOf(request);
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
