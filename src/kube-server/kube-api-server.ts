/**
 * A Kubernetes API server for tests and labs: nodes, pods, namespaces and network policies in memory. Requests for them are answered as
 * kube-apiserver does (versions, watches, patches, access control, errors); all other requests are refused.
 */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { messageOf } from "../base/error.ts";
import { KubeError, methodNotAllowed } from "./objects/kube-error.ts";
import type { JsonObject } from "./objects/kube-object.ts";
import type { KubeObjects } from "./objects/object-store.ts";
import { ObjectStores } from "./objects/object-stores.ts";
import {
  ANONYMOUS,
  authenticate,
  authorize,
  authorizePath,
  type Identity,
  type KubeToken,
} from "./requests/access.ts";
import { discoveryPage } from "./requests/discovery.ts";
import { checkAccept, reply, urlOf } from "./requests/exchange.ts";
import { answerFault, Faults, type KubeFault } from "./requests/fault.ts";
import { type ApiRequest, checkVerb, parseRequest } from "./requests/request-target.ts";
import { openWatch, serve } from "./requests/serve.ts";
import type { WatchStream } from "./requests/watch-stream.ts";

export type { KubeObject } from "./objects/kube-object.ts";
export type { KubeObjects } from "./objects/object-store.ts";
export type { KubeRule, KubeToken } from "./requests/access.ts";
export type { KubeFault } from "./requests/fault.ts";

/** Length of `requests`; older ones are dropped. */
const MAX_REQUESTS = 100_000;
/** As kube-apiserver. */
const IDLE_CONNECTION_MS = 90_000;

/** How the server listens, whom it admits, and how much history it keeps. */
export interface KubeApiOptions {
  /** Default "127.0.0.1". */
  readonly host?: string;
  /** 0 or undefined = any free port. */
  readonly port?: number;
  /** PEM texts. With `clientCa`, a client may present a certificate instead of a token: its CN is the user. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** Undefined = no access control. */
  readonly tokens?: readonly KubeToken[];
  /** How many changes a watch may lag behind before it gets 410 Gone; also the most in one turn of the event loop. Default 1,000. */
  readonly historyLength?: number;
  /** Time between bookmarks, for watches that request them. Default 60,000. */
  readonly bookmarkIntervalMs?: number;
}

/** An answered request for objects. */
export interface KubeRequest {
  readonly verb: string;
  /** "nodes", "nodes/status" */
  readonly resource: string;
  readonly name: string | undefined;
  readonly namespace: string | undefined;
  readonly user: string;
  /** 0 = no status was sent. */
  readonly status: number;
}

/** A running server; disposing it ends its watches and connections. */
export class KubeApiServer implements AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly #server: Server;
  readonly #stores: ObjectStores;
  readonly #asksCertificates: boolean;
  /** Includes those in a TLS handshake, which closeAllConnections() leaves open. */
  readonly #sockets = new Set<Socket>();
  readonly #watches = new Set<WatchStream>();
  readonly #faults = new Faults();
  readonly #bookmarks: NodeJS.Timeout;
  #requests: KubeRequest[] = [];
  #tokens: readonly KubeToken[] | undefined;
  #isSending = false;

  static async start(options: KubeApiOptions = {}): Promise<KubeApiServer> {
    const { host = "127.0.0.1", port = 0, tls } = options;
    const server =
      tls === undefined
        ? createServer()
        : createTlsServer({
            cert: tls.cert,
            key: tls.key,
            ...(tls.clientCa && { ca: tls.clientCa, requestCert: true, rejectUnauthorized: false }),
          });
    server.keepAliveTimeout = IDLE_CONNECTION_MS;
    server.listen(port, host);
    await once(server, "listening");
    return new KubeApiServer(server, options);
  }

  private constructor(server: Server, options: KubeApiOptions) {
    const { tls, historyLength = 1_000, bookmarkIntervalMs = 60_000 } = options;
    const { address, port, family } = server.address() as AddressInfo;
    this.port = port;
    this.url = `${tls ? "https" : "http"}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
    this.#server = server;
    this.#asksCertificates = tls?.clientCa !== undefined;
    this.#tokens = options.tokens;
    this.#stores = new ObjectStores(historyLength, () => this.#sendSoon());
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    server.on("request", (request, response) => void this.#handle(request, response));
    this.#bookmarks = setInterval(() => {
      for (const watch of this.#watches) watch.bookmark();
    }, bookmarkIntervalMs);
  }

  get nodes(): KubeObjects {
    return this.#stores.nodes;
  }

  get pods(): KubeObjects {
    return this.#stores.pods;
  }

  /** The first ones exist from the beginning. */
  get namespaces(): KubeObjects {
    return this.#stores.namespaces;
  }

  get networkPolicies(): KubeObjects {
    return this.#stores.networkPolicies;
  }

  /** In the order in which they were answered. */
  get requests(): readonly KubeRequest[] {
    return this.#requests;
  }

  /** Watches that are open now. */
  get watchCount(): number {
    return this.#watches.size;
  }

  /** Takes effect with the next request; open watches stay, as on a real server. */
  setTokens(tokens: readonly KubeToken[]): void {
    this.#tokens = tokens;
  }

  /** Answers the next `times` (default 1) matching requests with the fault. Disposing removes it. */
  inject(fault: KubeFault): Disposable {
    return this.#faults.add(fault);
  }

  /**
   * Discards all history. An open watch ends with an ERROR event if its client has an older version than the newest; a
   * watch that begins with an older version, and a list that continues from one, fail with 410.
   */
  compact(): void {
    this.#send();
    for (const store of this.#stores.all) store.history.compact(store.revision);
    for (const watch of this.#watches) watch.compacted();
  }

  /** Ends all watches now: cleanly, by a TCP reset, or with an ERROR event with code 410. */
  dropWatches(mode: "end" | "reset" | "expired" = "end"): void {
    for (const watch of [...this.#watches]) {
      if (mode === "end") watch.end();
      else if (mode === "reset") watch.reset();
      else watch.expire();
    }
  }

  /** Sends raw text to all open watches: truncated or malformed events. */
  sendToWatches(text: string): void {
    this.#send();
    for (const watch of this.#watches) watch.sendRaw(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    clearInterval(this.#bookmarks);
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Once for all changes in one turn of the event loop. */
  #sendSoon(): void {
    if (this.#isSending) return;
    this.#isSending = true;
    queueMicrotask(() => this.#send());
  }

  #send(): void {
    this.#isSending = false;
    for (const watch of this.#watches) watch.send();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A client that disconnects mid-request is not a server error.
    for (const stream of [request, response]) stream.on("error", () => {});
    const exchange: Exchange = { request, response, user: ANONYMOUS, api: undefined };
    try {
      await this.#answer(exchange);
    } catch (error) {
      if (request.destroyed && !request.complete) return;
      const { status } =
        error instanceof KubeError
          ? error
          : new KubeError(500, "InternalError", `Internal error occurred: ${messageOf(error)}`);
      this.#reply(exchange, status.code, status);
    }
  }

  async #answer(exchange: Exchange): Promise<void> {
    const { request, response } = exchange;
    const url = urlOf(request);
    let refusal: unknown;
    try {
      exchange.api = parseRequest(request.method!, url);
    } catch (error) {
      // Authentication comes first.
      refusal = error;
    }
    const { api } = exchange;
    const fault = api && this.#faults.take(api);
    if (fault !== undefined && fault !== "truncate") {
      this.#record(exchange, answerFault(fault, request, response));
      return;
    }
    const identity = authenticate(request, this.#tokens, this.#asksCertificates);
    exchange.user = identity.user;
    if (refusal !== undefined) throw refusal;
    if (api === undefined) {
      this.#answerPage(exchange, url.pathname, identity);
      return;
    }
    authorize(identity, api);
    checkVerb(api);
    checkAccept(request);
    const store = this.#stores.of(api.kind);
    const isTruncated = fault === "truncate";
    if (api.verb === "watch") {
      const watch = openWatch(store, api, request, response, isTruncated);
      this.#watches.add(watch);
      response.on("close", () => this.#watches.delete(watch));
      this.#record(exchange, 200);
      watch.send();
    } else {
      if (api.verb === "create" && api.namespace !== undefined) this.#stores.checkNamespace(api.namespace);
      const [status, content] = await serve(store, api, request);
      if (api.verb === "delete" && store === this.#stores.namespaces) this.#stores.emptyNamespace(api.name!);
      this.#reply(exchange, status, content, isTruncated);
    }
  }

  #answerPage(exchange: Exchange, path: string, identity: Identity): void {
    const { method = "" } = exchange.request;
    authorizePath(identity, method === "GET" ? "get" : method.toLowerCase(), path);
    if (method !== "GET") throw methodNotAllowed();
    const page = discoveryPage(path, new URL(this.url).host);
    if (page === undefined) this.#reply(exchange, 404, "404 page not found\n");
    else this.#reply(exchange, 200, page);
  }

  #reply(exchange: Exchange, status: number, content: JsonObject | string, isTruncated = false): void {
    this.#record(exchange, status);
    reply(exchange, status, content, isTruncated);
  }

  #record({ api, user }: Exchange, status: number): void {
    if (api === undefined) return;
    const { verb, resource, name, namespace } = api;
    this.#requests.push({ verb, resource, name, namespace, user, status });
    if (this.#requests.length > MAX_REQUESTS) this.#requests = this.#requests.slice(MAX_REQUESTS / 2);
  }
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  user: string;
  api: ApiRequest | undefined;
}
