/** HTTP to one etcd member: reused connections, time limits, and a limit on the size of answers. */

import {
  type ClientRequest,
  type Agent as HttpAgent,
  type IncomingMessage,
  request as requestHttp,
} from "node:http";
import { request as requestHttps } from "node:https";
import { StoreError } from "../../base/error.ts";
import type { EtcdSettings } from "../etcd/etcd-options.ts";
import { createAgent, exchange } from "../http-exchange.ts";
import { Silence } from "../network-failure.ts";

/** Largest answer that is read. A hundred thousand leases have about 40 MB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** One request of the keys API; `form` is sent as application/x-www-form-urlencoded. */
export interface HttpRequest {
  readonly method: string;
  /** With query. */
  readonly path: string;
  readonly form?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One member of the cluster. Its requests throw what the connection throws; etcd2-connection.ts makes StoreErrors of it. */
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
    // TCP keep-alive notices a host that vanished while the connection is idle.
    const options = { keepAliveMsecs: settings.timings.keepaliveIntervalMs };
    this.#agent = createAgent(options, this.#isTls ? settings.readTls : undefined);
  }

  /** Sends a request; resolves when the header of the answer has arrived. The caller must read or destroy its body. */
  send(request: HttpRequest): Promise<IncomingMessage> {
    const { signal } = request;
    return exchange(() => this.#open(request), this.#settings.timings, { ...(signal && { signal }) });
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
}

/**
 * Reads a body to its end. Undefined = nothing arrived for `patienceMs`. Throws what the connection throws,
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
          `etcd's answer is longer than ${MAX_ANSWER_BYTES >> 20} MiB: remove other keys below --etcd-prefix`,
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
