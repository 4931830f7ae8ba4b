/**
 * The status server: the API of api.ts, metrics, and the status page or a plain list of the paths. Nothing here changes
 * anything. Answers are for people and programs that address this host by IP address or by its own name: see host-header.ts.
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Server as HttpsServer, ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { messageOf } from "../base/error.ts";
import { type Logger, silentLogger } from "../base/logger.ts";
import { printableJson } from "../base/printable.ts";
import type { TokenFile } from "./access.ts";
import { ENDPOINTS, type RouteReport } from "./api.ts";
import { closeServer, createBoundedServer, pathOf, queryOf, send } from "./bounded-server.ts";
import { EventStreams } from "./event-stream.ts";
import { namesThisHost } from "./host-header.ts";
import { formatMetrics, METRICS_TYPE, type Metric } from "./metrics-text.ts";
import { openApiDocument, RECORDER_PATH } from "./openapi.ts";
import { PeerRows } from "./peer-rows.ts";
import { sendList, sendPieces } from "./send-list.ts";
import { sendPage } from "./send-page.ts";
import type { PolicySource, QueryFault, StatusSource } from "./status-source.ts";
import { readTlsFiles, type TlsFiles, TlsReload } from "./tls-files.ts";

/** `name` is the last segment of a path under a prefix, decoded; "" for other paths. */
type Handler = (request: IncomingMessage, response: ServerResponse, name: string) => void;

/** How clients are identified; without it everyone who reaches the server may read. */
export interface StatusAccess {
  readonly token?: TokenFile | undefined;
  readonly tls?: TlsFiles | undefined;
}

/** What a status server has beside its source. */
export interface StatusServerOptions extends StatusAccess {
  /** Servers of one source share them. */
  readonly rows?: PeerRows;
  /** The flight recorder's text in pieces; undefined = this server does not give it out. */
  readonly recording?: (() => Iterable<string>) | undefined;
  readonly logger?: Logger;
}

/** How often the TLS files are read again. */
const RELOAD_MS = 60_000;
const PEER_PREFIX = "/v1/peers/";

/** The status server on one address or socket, from its start until it is disposed. */
export class StatusServer implements AsyncDisposable {
  readonly #server: Server;

  /** `listen` makes the server listen. Rejects with its error, or with ConfigError if a TLS file is unusable. */
  static async start(
    source: StatusSource,
    listen: (server: Server) => Promise<void>,
    {
      token,
      tls,
      rows = new PeerRows(source, ""),
      recording,
      logger = silentLogger,
    }: StatusServerOptions = {},
  ): Promise<StatusServer> {
    const handlers = handlersOf(source, rows, recording);
    const server = createBoundedServer(
      (request, response) => answer(request, response, handlers, { token, tls }),
      tls && { https: await import("node:https"), options: tlsOptions(tls) },
    );
    await listen(server);
    if (tls !== undefined) reloadTls(server as HttpsServer, new TlsReload(tls, logger));
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

function tlsOptions(files: TlsFiles): ServerOptions {
  const isVerified = files.clientCaFile !== undefined;
  return { ...readTlsFiles(files), requestCert: isVerified, rejectUnauthorized: isVerified };
}

function reloadTls(server: HttpsServer, reload: TlsReload): void {
  const timer = setInterval(() => {
    const options = reload.read();
    if (options !== undefined) server.setSecureContext(options);
  }, RELOAD_MS).unref();
  server.once("close", () => clearInterval(timer));
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  handlers: Record<string, Handler>,
  { token, tls }: StatusAccess,
): void {
  const identity = token?.identify(request);
  if (identity === "none") {
    response.setHeader(
      "WWW-Authenticate",
      'Bearer realm="flanneld", Basic realm="flanneld: any name, token"',
    );
    send(response, 401, "send the token of --status-token-file: Authorization: Bearer TOKEN\n");
    return;
  }
  const isIdentified = identity !== undefined || tls?.clientCaFile !== undefined;
  const url = pathOf(request);
  const isPeer = url.startsWith(PEER_PREFIX) && url.length > PEER_PREFIX.length;
  const path = isPeer ? "/v1/peers/{key}" : url;
  const name = isPeer ? decode(url.slice(PEER_PREFIX.length)) : "";
  // A web page cannot make a browser send a bearer token that it does not know.
  const isAddressed =
    identity === "bearer" || (namesThisHost(request.headers.host) && isOwnOrigin(request.headers.origin));
  if (!isAddressed) send(response, 403, "request this host by IP address, by its own name or as localhost\n");
  else if (!Object.hasOwn(handlers, path) || name === undefined)
    send(response, 404, `no such path; there are:\n${Object.keys(handlers).join("\n")}\n`);
  else if (path === "/v1/drift" && !isIdentified && !isFromThisHost(request))
    send(response, 403, `${path} names processes of this host; request it from there\n`);
  else handlers[path]!(request, response, name);
}

const POLICIES_OFF = "flanneld does not enforce network policies; start it with --network-policy\n";

const isFault = (found: unknown): found is QueryFault => Object.hasOwn(found as object, "fault");

/** One segment of a path; undefined if it is malformed. */
function decode(segment: string): string | undefined {
  try {
    return segment.includes("/") ? undefined : decodeURIComponent(segment);
  } catch {
    return undefined; // RFC 3986, 2.1: "%zz", or no UTF-8
  }
}

function handlersOf(
  source: StatusSource,
  rows: PeerRows,
  recording: StatusServerOptions["recording"],
): Record<string, Handler> {
  const streams = new EventStreams(source.events);
  const isPrivate = recording !== undefined;
  const paths = [
    ...["/metrics", "/v1/openapi.json", ...Object.keys(ENDPOINTS)],
    ...(isPrivate ? [RECORDER_PATH] : []),
  ];
  const list =
    (items: () => Iterable<unknown> | undefined): Handler =>
    (_, response) => {
      const found = items();
      if (found === undefined) sendUnknown(response, source);
      // The status line is sent: cutting the connection is the only way to say that the rest is missing.
      else sendList(response, found).catch(() => response.destroy());
    };
  const json =
    (value: (name: string, query: URLSearchParams) => unknown): Handler =>
    (request, response, name) => {
      const found = value(name, queryOf(request));
      if (found === undefined) sendUnknown(response, source);
      else if (found === "absent")
        send(response, 404, "no peer has this lease key or subnet; /v1/peers lists them\n");
      else send(response, 200, `${printableJson(JSON.stringify(found))}\n`, "application/json");
    };
  const policies =
    (ask: (from: PolicySource, query: URLSearchParams) => unknown): Handler =>
    (request, response) => {
      const { policies: from } = source;
      if (from === undefined) send(response, 404, POLICIES_OFF);
      else {
        (async () => ask(from, queryOf(request)))().then(
          (found) => {
            if (found === undefined) sendUnknown(response, source);
            else if (isFault(found)) send(response, 404, `${found.fault}\n`);
            else send(response, 200, `${printableJson(JSON.stringify(found))}\n`, "application/json");
          },
          (error: unknown) => send(response, 503, `${messageOf(error)}\n`),
        );
      }
    };
  return {
    "/": (request, response) => {
      response.setHeader("Vary", "Accept");
      if (!sendPage(request, response))
        send(response, 200, `flanneld ${source.version}\n\n${paths.join("\n")}\n`);
    },
    "/metrics": (_, response) => {
      const answer = (others: readonly Metric[]) =>
        send(response, 200, formatMetrics([...source.metrics(), ...others]), METRICS_TYPE);
      if (source.policies === undefined) answer([]);
      // What cannot be read is left out.
      else source.policies.metrics().then(answer, () => answer([]));
    },
    "/v1/openapi.json": json(() => openApiDocument(source.version, { hasRecorder: isPrivate })),
    "/v1/status": json(() => source.status()),
    "/v1/lease": json(() => source.lease()),
    "/v1/routes": checked("probes", /^(?:true|false)$/, "true or false", (probes) =>
      list(() => (probes === "false" ? withoutProbes(source.routes()) : source.routes())),
    ),
    "/v1/peers": list(() => source.peers()),
    "/v1/peers/{key}": json((name) => source.peer(name)),
    "/v1/plan": list(() => source.plan()),
    "/v1/probes": checked("worst", /^[1-9]\d{0,5}$/, "a number of cells", (worst) =>
      json(() => rows.own(worst === undefined ? undefined : Number(worst))),
    ),
    "/v1/matrix": list(() => rows.rows()),
    "/v1/path": json((_, query) => source.path(query.get("to") ?? "")),
    "/v1/drift": json(() => source.drift()),
    "/v1/policies": policies(({ state }) => state()),
    "/v1/policies/pod": policies(({ pod }, query) => pod(query.get("pod") ?? "")),
    "/v1/policies/explain": policies(({ explain }, query) =>
      explain(query.get("from") ?? "", query.get("to") ?? "", query.get("port") ?? ""),
    ),
    "/v1/events": (request, response) => streams.serve(request, response),
    ...(isPrivate && {
      [RECORDER_PATH]: (_: IncomingMessage, response: ServerResponse) => {
        sendPieces(response, recording(), "application/x-ndjson").catch(() => response.destroy());
      },
    }),
  };
}

const withoutProbes = (routes: Iterable<RouteReport> | undefined): Iterable<RouteReport> | undefined =>
  routes && Iterator.from(routes).map((route) => ({ ...route, probe: undefined }));

/** The handler for the value of a parameter in the query; undefined = it is not there. One that does not match is refused. */
const checked =
  (
    name: string,
    pattern: RegExp,
    meaning: string,
    handlerOf: (value: string | undefined) => Handler,
  ): Handler =>
  (request, response, segment) => {
    const value = queryOf(request).get(name) ?? undefined;
    if (value === undefined || pattern.test(value)) handlerOf(value)(request, response, segment);
    else
      send(
        response,
        400,
        `${name} is ${meaning}
`,
      );
  };

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
