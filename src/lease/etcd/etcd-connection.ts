/**
 * The connection to an etcd cluster: gRPC over HTTP/2 to an endpoint that works, the next one when it fails.
 *
 * The first endpoint is drawn at random, so that thousands of hosts with the same flags do not all load the same member.
 * Connections are pinged while a stream is open, so that a server that vanished silently is noticed.
 */

import { type CallOptions, type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { StoreError } from "../../base/error.ts";
import { Auth, KV, Lease, Watch } from "../../etcd-api/rpc_pb.ts";
import { DialTimeout } from "../network-failure.ts";
import { EndpointRotation } from "./endpoint-rotation.ts";
import { describeFailure, type EtcdFailure, isAuthenticationDisabled, summarize } from "./etcd-error.ts";
import type { EtcdSettings } from "./etcd-options.ts";
import { EtcdSession } from "./etcd-session.ts";

/** The services of one endpoint. */
export interface EtcdClients {
  readonly kv: Client<typeof KV>;
  readonly lease: Client<typeof Lease>;
  readonly watch: Client<typeof Watch>;
  readonly auth: Client<typeof Auth>;
}

interface Endpoint {
  readonly url: string;
  readonly session: EtcdSession;
  readonly clients: EtcdClients;
  hasWorked: boolean;
}

/**
 * One connection to a cluster, opened when the first request needs it. Its requests throw StoreError; disposing it
 * aborts them.
 */
export class EtcdConnection implements Disposable {
  readonly settings: EtcdSettings;
  readonly #endpoints: EndpointRotation<Endpoint>;
  /** The authentication token, or the attempt to get one; undefined = authenticate when needed. */
  #token: Promise<string | undefined> | undefined;
  #requestCount = 0;
  #dialCount = 0;

  /** `random`: 0 ≤ random() < 1. */
  constructor(settings: EtcdSettings, random: () => number = Math.random) {
    this.settings = settings;
    const count: Interceptor = (next) => (request) => {
      this.#requestCount++;
      return next(request);
    };
    const onDial = () => void this.#dialCount++;
    this.#endpoints = new EndpointRotation(
      settings.endpoints.map((url) => openEndpoint(url, settings, count, onDial)),
      Math.floor(random() * settings.endpoints.length),
      (error, endpoint) => this.#describe(error, endpoint),
    );
  }

  /** RPCs made so far; a stream counts as one. */
  get requestCount(): number {
    return this.#requestCount;
  }

  /** Connections begun so far. While the number stays the same, all answers came from the same process. */
  get dialCount(): number {
    return this.#dialCount;
  }

  /**
   * Makes a request: `send` is called with the clients of one endpoint after the other until it succeeds. It may run
   * more than once, also after a request that etcd carried out but whose answer was lost: writes must be
   * compare-and-swap. Throws StoreError.
   */
  async call<T>(send: (clients: EtcdClients, options: CallOptions) => Promise<T>): Promise<T> {
    const timeoutMs = this.settings.timings.requestTimeoutMs;
    return this.#atSomeEndpoint(({ clients }, headers) => send(clients, { headers, timeoutMs }));
  }

  /**
   * Opens a stream: `open` returns once the first message has arrived, and is aborted if none does in time. `signal` ends
   * the stream. `failed` gives the StoreError for what the stream throws after it was open. Throws StoreError.
   */
  async openStream<T>(
    signal: AbortSignal,
    open: (clients: EtcdClients, options: CallOptions, failed: (error: unknown) => StoreError) => Promise<T>,
  ): Promise<T> {
    return this.#atSomeEndpoint(async (endpoint, headers) => {
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(new DialTimeout()), this.settings.timings.requestTimeoutMs);
      // A member cut off from the others would stay silent for ever; with this header it ends the stream instead.
      const options = {
        headers: { ...headers, hasleader: "true" },
        signal: AbortSignal.any([signal, late.signal]),
      };
      try {
        return await open(endpoint.clients, options, (error) => {
          const failure = this.#describe(error, endpoint);
          if (failure.staleToken) this.#token = undefined;
          return summarize([failure], error);
        });
      } finally {
        clearTimeout(timer);
      }
    });
  }

  /** Makes the next request authenticate again: etcd does not always report that this is the cause. */
  forgetToken(): void {
    this.#token = undefined;
  }

  /** Drops the existing connections: requests in progress fail, the next ones connect again. */
  reconnect(): void {
    for (const { session } of this.#endpoints.members) session.abort(new DialTimeout());
  }

  [Symbol.dispose](): void {
    for (const { session } of this.#endpoints.members) session.abort();
  }

  #atSomeEndpoint<T>(run: (endpoint: Endpoint, headers: Record<string, string>) => Promise<T>): Promise<T> {
    return this.#endpoints.run((endpoint) => this.#atEndpoint(endpoint, run));
  }

  async #atEndpoint<T>(
    endpoint: Endpoint,
    run: (endpoint: Endpoint, headers: Record<string, string>) => Promise<T>,
  ): Promise<T> {
    await this.#dial(endpoint);
    const headers = await this.#authHeaders(endpoint);
    const token = this.#token;
    try {
      return await run(endpoint, headers);
    } catch (error) {
      if (!this.#describe(error, endpoint).staleToken) throw error;
      // Many requests may find the same token stale: only the first requests a new one, because etcd hashes passwords slowly.
      if (this.#token === token) this.#token = undefined;
      return await run(endpoint, await this.#authHeaders(endpoint));
    }
  }

  #describe(error: unknown, { url, hasWorked }: Endpoint): EtcdFailure {
    return describeFailure(error, url, hasWorked, this.settings);
  }

  async #dial({ session }: Endpoint): Promise<void> {
    const timer = setTimeout(() => session.abort(new DialTimeout()), this.settings.timings.dialTimeoutMs);
    try {
      if ((await session.connect()) === "error") throw session.error() ?? new DialTimeout();
    } finally {
      clearTimeout(timer);
    }
  }

  async #authHeaders({ clients }: Endpoint): Promise<Record<string, string>> {
    const { user } = this.settings;
    if (user === undefined) return {};
    this.#token ??= authenticate(clients, user, this.settings.timings.requestTimeoutMs);
    const pending = this.#token;
    try {
      const token = await pending;
      return token === undefined ? {} : { token };
    } catch (error) {
      if (this.#token === pending) this.#token = undefined;
      throw error;
    }
  }
}

function openEndpoint(
  url: string,
  settings: EtcdSettings,
  interceptor: Interceptor,
  onDial: () => void,
): Endpoint {
  const session = new EtcdSession(url, {
    pingIntervalMs: settings.timings.keepaliveIntervalMs,
    pingTimeoutMs: settings.timings.keepaliveTimeoutMs,
    readTls: url.startsWith("https:") ? settings.readTls : undefined,
    onDial,
  });
  const transport = createGrpcTransport({
    baseUrl: url,
    sessionManager: session,
    interceptors: [interceptor],
  });
  const clients: EtcdClients = {
    kv: createClient(KV, transport),
    lease: createClient(Lease, transport),
    watch: createClient(Watch, transport),
    auth: createClient(Auth, transport),
  };
  return { url, session, clients, hasWorked: false };
}

/** Undefined = this etcd has authentication switched off. */
async function authenticate(
  clients: EtcdClients,
  user: { readonly name: string; readonly password: string },
  timeoutMs: number,
): Promise<string | undefined> {
  try {
    return (await clients.auth.authenticate(user, { timeoutMs })).token;
  } catch (error) {
    if (isAuthenticationDisabled(error)) return undefined;
    throw error;
  }
}
