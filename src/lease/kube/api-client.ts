/**
 * Requests to the Kubernetes API: JSON over persistent HTTP/1.1 connections, with limits of time and size. Obeys Retry-After,
 * and retries with a new token when the old one is refused.
 */

import {
  type ClientRequest,
  type Agent as HttpAgent,
  type IncomingMessage,
  request as requestHttp,
} from "node:http";
import { request as requestHttps } from "node:https";
import { messageOf, StoreError } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import { sleep, type Timers } from "../../base/timers.ts";
import { createAgent, exchange } from "../http-exchange.ts";
import type { ApiAccess } from "./api-access.ts";
import { ApiBody } from "./api-body.ts";
import { type ApiRequest, apiGroupOf, describeBreak, describeRefusal } from "./api-error.ts";
import type { KubeTimings } from "./kube-options.ts";

/** Largest object that is read. etcd takes objects of 1.5 MB. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_REFUSAL_BYTES = 64 * 1024;
/** Silence after which TCP probes the connection; it is closed 10 s later (tcp(7); libuv's probes). */
const KEEPALIVE_MS = 15_000;
/** How often, and how long at most, a request waits because of Retry-After. */
const MAX_WAITS = 5;
const MAX_WAIT_MS = 60_000;

/** The field manager of flanneld's writes (metadata.managedFields). */
export const FIELD_MANAGER = "flanneld";

/** What a client needs of the process. */
export interface ApiPorts {
  readonly logger: Logger;
  readonly timers: Timers;
}

/** One client for all requests of a store. Requests throw StoreError (see api-error.ts); disposing it aborts them. */
export class ApiClient implements Disposable {
  readonly #access: ApiAccess;
  readonly #timings: KubeTimings;
  readonly #ports: ApiPorts;
  readonly #closed = new AbortController();
  #agent: HttpAgent;
  #requestCount = 0;

  constructor(access: ApiAccess, timings: KubeTimings, ports: ApiPorts) {
    this.#access = access;
    this.#timings = timings;
    this.#ports = ports;
    this.#agent = this.#newAgent();
  }

  /** Requests made so far; a watch counts as one. */
  get requestCount(): number {
    return this.#requestCount;
  }

  /** The object in the response. Throws StoreError. */
  async call(request: ApiRequest): Promise<unknown> {
    const text = await readBody(await this.open(request), MAX_ANSWER_BYTES);
    try {
      return JSON.parse(text);
    } catch {
      throw new StoreError("INVALID", `API server ${this.#access.url} returned no JSON; check its address`);
    }
  }

  /** The body of a successful response; a body that is not read to its end has to be ended by `signal`. Throws StoreError. */
  async open(request: ApiRequest, signal?: AbortSignal): Promise<ApiBody> {
    const closed = this.#closed.signal;
    return this.#open(request, signal === undefined ? closed : AbortSignal.any([signal, closed]));
  }

  /** All connections may be dead: requests in progress fail, new ones use new connections. */
  dropConnections(): void {
    this.#agent.destroy();
    this.#agent = this.#newAgent();
  }

  [Symbol.dispose](): void {
    this.#closed.abort();
    this.#agent.destroy();
  }

  async #open(request: ApiRequest, signal: AbortSignal): Promise<ApiBody> {
    for (let waits = 0; ; waits++) {
      const authorization = await this.#access.authorize();
      let message = await this.#send(request, authorization, signal);
      if (message.statusCode === 401) {
        const renewed = await this.#access.authorize(authorization ?? "");
        if (renewed !== authorization) {
          message.resume();
          message = await this.#send(request, renewed, signal);
        }
      }
      const status = message.statusCode ?? 0;
      const body = new ApiBody(message, (error) => this.#describe(error), this.#timings.requestTimeoutMs);
      if (status >= 200 && status < 300) return body;
      const { socket } = message; // undefined once it has been read
      const waitMs = retryAfterMs(message);
      const words = await readBody(body, MAX_REFUSAL_BYTES).catch(() => "");
      // A connection keeps its client certificate: a renewed one needs a new connection.
      if (status === 401) socket.destroy();
      const refusal = describeRefusal(request, status, words, this.#access);
      if (waitMs === undefined || waits >= MAX_WAITS || signal.aborted) throw refusal;
      this.#ports.logger.debug(`${messageOf(refusal)}; retrying in ${waitMs / 1000} s (Retry-After)`);
      await sleep(this.#ports.timers, Math.min(waitMs, MAX_WAIT_MS), signal);
      if (signal.aborted) throw refusal;
    }
  }

  /** The head of the response. Throws StoreError. */
  async #send(
    request: ApiRequest,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    try {
      return await exchange(() => this.#start(request, authorization, signal), this.#timings, {
        signal,
        onConnect: (socket) => socket.setKeepAlive(true, KEEPALIVE_MS),
      });
    } catch (error) {
      throw this.#describe(error);
    }
  }

  #describe(error: unknown): StoreError {
    if (this.#closed.signal.aborted) return new StoreError("UNAVAILABLE", "the store is closed");
    return describeBreak(error, this.#access);
  }

  #start(request: ApiRequest, authorization: string | undefined, signal: AbortSignal): ClientRequest {
    this.#requestCount++;
    const isPatch = request.verb === "patch";
    const body = isPatch ? JSON.stringify(request.patch) : undefined;
    const outgoing = (this.#access.readTls === undefined ? requestHttp : requestHttps)(
      this.#access.url + pathOf(request),
      {
        method: isPatch ? "PATCH" : "GET",
        agent: this.#agent,
        headers: {
          accept: "application/json",
          "user-agent": FIELD_MANAGER,
          ...(body !== undefined && {
            "content-type": "application/strategic-merge-patch+json",
            "content-length": Buffer.byteLength(body),
          }),
          ...(authorization !== undefined && { authorization }),
        },
        signal,
      },
    );
    outgoing.end(body);
    return outgoing;
  }

  #newAgent(): HttpAgent {
    return createAgent({}, this.#access.readTls);
  }
}

function pathOf({ resource, namespace, name, query, verb }: ApiRequest): string {
  const [collection, subresource] = resource.split("/");
  const parts = [
    ...(namespace === undefined ? [] : ["namespaces", namespace]),
    collection!,
    ...(name === undefined ? [] : [name]),
    ...(subresource === undefined ? [] : [subresource]),
  ];
  const parameters = {
    ...(verb === "watch" && { watch: "true" }),
    ...(verb === "patch" && { fieldManager: FIELD_MANAGER }),
    ...query,
  };
  const search = new URLSearchParams(parameters).toString();
  const group = apiGroupOf(resource);
  const root = group === "" ? "/api/v1" : `/apis/${group}/v1`;
  return `${root}/${parts.map(encodeURIComponent).join("/")}${search === "" ? "" : `?${search}`}`;
}

/** Retry-After in seconds (RFC 9110 §10.2.3); undefined = none. */
function retryAfterMs(message: IncomingMessage): number | undefined {
  const value = message.headers["retry-after"];
  return value !== undefined && /^\d{1,6}$/.test(value) ? Number(value) * 1000 : undefined;
}

/** Reads a body to its end. Throws StoreError, INVALID if it is too long. */
async function readBody(body: ApiBody, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new StoreError("INVALID", `the API server's answer is longer than ${maxBytes >> 10} KiB`);
    }
  }
  return Buffer.concat(chunks).toString();
}
