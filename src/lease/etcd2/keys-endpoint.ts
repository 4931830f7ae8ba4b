/**
 * HTTP to one etcd member: connections that are kept and used again, time limits, and an end to answers that do not end.
 */

import {
  type AgentOptions,
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingMessage,
  request as requestHttp,
} from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import type { SecureContextOptions } from "node:tls";
import { hasCode, StoreError } from "../../base/error.ts";
import { DialTimeout } from "../etcd/etcd-error.ts";
import type { EtcdSettings } from "../etcd/etcd-options.ts";

/** Largest answer that is read. A hundred thousand leases have about 40 MB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** Thrown when a member is connected but says nothing. */
export class Silence extends Error {}

export interface HttpRequest {
  readonly method: string;
  /** With query. */
  readonly path: string;
  readonly form?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class KeysEndpoint implements Disposable {
  readonly url: string;
  /** Whether it has answered before. */
  hasWorked = false;
  readonly #settings: EtcdSettings;
  readonly #isTls: boolean;
  readonly #agent: HttpAgent;

  constructor(url: string, settings: EtcdSettings) {
    this.url = url;
    this.#settings = settings;
    this.#isTls = url.startsWith("https:");
    // TCP's own keep-alive notices a host that vanished while nothing is to be said.
    const options = { keepAlive: true, keepAliveMsecs: settings.timings.keepaliveIntervalMs };
    this.#agent =
      this.#isTls && settings.readTls !== undefined
        ? new TlsAgent(options, settings.readTls)
        : new HttpAgent(options);
  }

  /** Sends a request; resolves when the head of the answer is there. Its body has to be read or destroyed. */
  async send(request: HttpRequest): Promise<IncomingMessage> {
    for (;;) {
      const outgoing = this.#open(request);
      try {
        return await this.#answered(outgoing);
      } catch (error) {
        // The server closed an idle connection just now. Each such failure uses up one of them.
        const isStale = outgoing.reusedSocket && (hasCode(error, "ECONNRESET") || hasCode(error, "EPIPE"));
        if (!isStale || request.signal?.aborted) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #open({ method, path, form, signal }: HttpRequest): ClientRequest {
    const { user } = this.#settings;
    const body = form === undefined ? undefined : new URLSearchParams(form).toString();
    const outgoing = (this.#isTls ? requestHttps : requestHttp)(this.url + path, {
      method,
      agent: this.#agent,
      headers: {
        accept: "application/json",
        ...(body !== undefined && {
          "content-type": "application/x-www-form-urlencoded",
          "content-length": Buffer.byteLength(body),
        }),
        ...(user !== undefined && {
          authorization: `Basic ${Buffer.from(`${user.name}:${user.password}`).toString("base64")}`,
        }),
      },
      ...(signal && { signal }),
    });
    outgoing.end(body);
    return outgoing;
  }

  async #answered(outgoing: ClientRequest): Promise<IncomingMessage> {
    const { dialTimeoutMs, requestTimeoutMs } = this.#settings.timings;
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const dialing = setTimeout(() => outgoing.destroy(new DialTimeout()), dialTimeoutMs);
    const waiting = setTimeout(() => outgoing.destroy(new Silence()), dialTimeoutMs + requestTimeoutMs);
    outgoing.on("socket", (socket) => {
      if (outgoing.reusedSocket) clearTimeout(dialing);
      else socket.once(this.#isTls ? "secureConnect" : "connect", () => clearTimeout(dialing));
    });
    outgoing.on("error", reject);
    outgoing.on("response", resolve);
    try {
      return await promise;
    } finally {
      clearTimeout(dialing);
      clearTimeout(waiting);
    }
  }
}

/** Each new connection uses the certificates of its time; none resumes a session that was made with older ones. */
class TlsAgent extends HttpsAgent {
  readonly #readTls: () => SecureContextOptions;

  constructor(options: AgentOptions, readTls: () => SecureContextOptions) {
    super({ ...options, maxCachedSessions: 0 });
    this.#readTls = readTls;
  }

  override createConnection(...[options, callback]: Parameters<HttpsAgent["createConnection"]>) {
    return super.createConnection({ ...options, ...this.#readTls() }, callback);
  }
}

/**
 * Reads a body to its end. Undefined = nothing at all came for `patienceMs`. Throws what the connection throws,
 * {@link Silence} if it stops in the middle, StoreError INVALID if it is too long.
 */
export async function readBody(message: IncomingMessage, patienceMs: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => message.destroy(new Silence()), patienceMs);
  try {
    for await (const chunk of message) {
      timer.refresh();
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_ANSWER_BYTES) {
        throw new StoreError(
          "INVALID",
          `etcd's answer is longer than ${MAX_ANSWER_BYTES >> 20} MiB: is all of it flannel's?`,
        );
      }
    }
    return Buffer.concat(chunks).toString();
  } catch (error) {
    if (error instanceof Silence && bytes === 0) return undefined;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
