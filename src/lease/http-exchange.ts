/** Requests over persistent HTTP/1.1 connections, with time limits; each new connection reads the current certificates. */

import { type AgentOptions, type ClientRequest, Agent as HttpAgent, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { Socket } from "node:net";
import type { SecureContextOptions } from "node:tls";
import { hasCode } from "../base/error.ts";
import { DialTimeout, Silence } from "./network-failure.ts";

/** Limits of one exchange, in ms. The body has its own limit, because a watch has no end. */
export interface HttpTimings {
  readonly dialTimeoutMs: number;
  /** From the connection to the head of the response. */
  readonly requestTimeoutMs: number;
}

/** A pool of persistent connections; over TLS if `readTls` is given, which is called for each new connection. */
export const createAgent = (
  options: AgentOptions,
  readTls: (() => SecureContextOptions) | undefined,
): HttpAgent =>
  readTls === undefined
    ? new HttpAgent({ ...options, keepAlive: true })
    : new TlsAgent({ ...options, keepAlive: true }, readTls);

/** Each new connection uses the current certificates; none resumes a session that was made with older ones. */
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
 * The head of the response to the request that `send` starts; its body has to be read or destroyed. Retries if the server
 * closed an idle connection at that moment; each such failure uses up one of them. Throws {@link DialTimeout}, {@link Silence}, and what
 * the connection throws.
 */
export async function exchange(
  send: () => ClientRequest,
  timings: HttpTimings,
  {
    signal,
    onConnect,
  }: { readonly signal?: AbortSignal; readonly onConnect?: (socket: Socket) => void } = {},
): Promise<IncomingMessage> {
  for (;;) {
    const outgoing = send();
    try {
      return await answered(outgoing, timings, onConnect);
    } catch (error) {
      const isStale = outgoing.reusedSocket && (hasCode(error, "ECONNRESET") || hasCode(error, "EPIPE"));
      if (!isStale || signal?.aborted) throw error;
    }
  }
}

async function answered(
  outgoing: ClientRequest,
  { dialTimeoutMs, requestTimeoutMs }: HttpTimings,
  onConnect: ((socket: Socket) => void) | undefined,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const dialing = setTimeout(() => outgoing.destroy(new DialTimeout()), dialTimeoutMs);
  const waiting = setTimeout(() => outgoing.destroy(new Silence()), dialTimeoutMs + requestTimeoutMs);
  outgoing.on("socket", (socket) => {
    if (outgoing.reusedSocket) return clearTimeout(dialing);
    socket.once(outgoing.protocol === "https:" ? "secureConnect" : "connect", () => {
      clearTimeout(dialing);
      onConnect?.(socket);
    });
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
