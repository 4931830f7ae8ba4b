/**
 * The status server: the API of api.ts, metrics, and a plain list of its paths. Nothing here changes anything. Answers are
 * for people and programs that address this host by IP address or by its own name: see host-header.ts.
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { printableJson } from "../base/printable.ts";
import { ENDPOINTS } from "./api.ts";
import { closeServer, createBoundedServer, pathOf, send } from "./bounded-server.ts";
import { EventStreams } from "./event-stream.ts";
import { namesThisHost } from "./host-header.ts";
import { formatMetrics, METRICS_TYPE } from "./metrics-text.ts";
import { openApiDocument } from "./openapi.ts";
import { sendList } from "./send-list.ts";
import type { StatusSource } from "./status-source.ts";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export class StatusServer implements AsyncDisposable {
  readonly #server: Server;

  /** `listen` makes the server listen. Rejects with its error. */
  static async start(source: StatusSource, listen: (server: Server) => Promise<void>): Promise<StatusServer> {
    const handlers = handlersOf(source);
    const server = createBoundedServer((request, response) => answer(request, response, handlers));
    await listen(server);
    return new StatusServer(server);
  }

  private constructor(server: Server) {
    this.#server = server;
  }

  /** The TCP port it listens on; undefined for a unix socket. */
  get port(): number | undefined {
    return (this.#server.address() as AddressInfo | null)?.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await closeServer(this.#server);
  }
}

function answer(request: IncomingMessage, response: ServerResponse, handlers: Record<string, Handler>): void {
  const path = pathOf(request);
  if (!namesThisHost(request.headers.host) || !isOwnOrigin(request.headers.origin))
    send(response, 403, "request this host by IP address, by its own name or as localhost\n");
  else if (!Object.hasOwn(handlers, path)) send(response, 404, `try ${Object.keys(handlers).join(", ")}\n`);
  else if (path === "/v1/drift" && !isFromThisHost(request))
    send(response, 403, `${path} names processes of this host; request it from there\n`);
  else handlers[path]!(request, response);
}

function handlersOf(source: StatusSource): Record<string, Handler> {
  const streams = new EventStreams(source.events);
  const paths = ["/metrics", "/v1/openapi.json", ...Object.keys(ENDPOINTS)];
  const list =
    (items: () => Iterable<unknown> | undefined): Handler =>
    (_, response) => {
      const found = items();
      if (found === undefined) sendUnknown(response, source);
      // The status line is sent: cutting the connection is the only way to say that the rest is missing.
      else sendList(response, found).catch(() => response.destroy());
    };
  const json =
    (value: () => unknown): Handler =>
    (_, response) => {
      const found = value();
      if (found === undefined) sendUnknown(response, source);
      else send(response, 200, `${printableJson(JSON.stringify(found))}\n`, "application/json");
    };
  return {
    "/": (_, response) => send(response, 200, `flanneld ${source.version}\n\n${paths.join("\n")}\n`),
    "/metrics": (_, response) => send(response, 200, formatMetrics(source.metrics()), METRICS_TYPE),
    "/v1/openapi.json": json(() => openApiDocument(source.version)),
    "/v1/status": json(() => source.status()),
    "/v1/lease": json(() => source.lease()),
    "/v1/routes": list(() => source.routes()),
    "/v1/peers": list(() => source.peers()),
    "/v1/drift": json(() => source.drift()),
    "/v1/events": (request, response) => streams.serve(request, response),
  };
}

function sendUnknown(response: ServerResponse, source: StatusSource): void {
  const reasons = source.status().notReadyReasons;
  send(response, 503, `${["not known yet", ...reasons].join("\n")}\n`);
}

/** A client with the same address as the server is on this host, on loopback, on any other address or on a unix socket. */
const isFromThisHost = ({ socket }: IncomingMessage): boolean => socket.remoteAddress === socket.localAddress;

/** Browsers name the page that a request comes from (RFC 6454); other clients send no such header. */
function isOwnOrigin(origin: string | undefined): boolean {
  return origin === undefined || (URL.canParse(origin) && namesThisHost(new URL(origin).host));
}
