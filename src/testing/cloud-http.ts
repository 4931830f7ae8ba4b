/**
 * What the fake clouds have in common: an HTTP server on a free port of loopback, the requests that it received, and faults
 * that a test puts before its answers.
 */

import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request as its handler receives it. */
export interface FakeRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An object is sent as JSON, a string as it is. */
export interface FakeReply {
  readonly status?: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What happens to requests instead of an answer of the handler's. */
export interface Fault {
  /** Which requests: part of their label. */
  readonly label: string;
  /** How many of them; default all. */
  times?: number;
  /** "silence" = no answer at all; "lost" = the request is served, and the connection broken before the answer. */
  readonly reply: FakeReply | "silence" | "lost";
}

/** `label` is what tests and faults call a request: "CreateRouteEntry", "POST routes". */
export interface FakeHandler {
  label(request: FakeRequest): string;
  answer(request: FakeRequest): FakeReply;
}

export class FakeServer implements AsyncDisposable {
  /** Without a slash at its end. */
  readonly url: string;
  readonly port: number;
  /** Labels of all requests, in order. */
  readonly requests: string[] = [];
  readonly faults: Fault[] = [];
  readonly #close: () => Promise<void>;

  private constructor(port: number, close: () => Promise<void>) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.#close = close;
  }

  static async start(handler: FakeHandler): Promise<FakeServer> {
    const server = createServer((message, response) => {
      void readBody(message).then((body) => fake.#serve(handler, toRequest(message, body), response));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const fake = new FakeServer((server.address() as AddressInfo).port, async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return fake;
  }

  /** How many requests had this label. */
  count(label: string): number {
    return this.requests.filter((each) => each === label).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  #serve(handler: FakeHandler, request: FakeRequest, response: ServerResponse): void {
    const label = handler.label(request);
    this.requests.push(label);
    const fault = this.faults.find((each) => label.includes(each.label) && each.times !== 0);
    if (fault?.times !== undefined) fault.times--;
    if (fault?.reply === "silence") return;
    const reply = fault === undefined || fault.reply === "lost" ? handler.answer(request) : fault.reply;
    if (fault?.reply === "lost") return void response.destroy();
    const isText = typeof reply.body === "string";
    response.writeHead(reply.status ?? 200, {
      "content-type": isText ? "text/html" : "application/json",
      ...reply.headers,
    });
    response.end(isText ? reply.body : JSON.stringify(reply.body));
  }
}

async function readBody(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function toRequest(message: IncomingMessage, body: string): FakeRequest {
  const url = new URL(message.url ?? "/", "http://fake");
  return {
    method: message.method ?? "",
    path: url.pathname,
    query: url.searchParams,
    headers: message.headers,
    body,
  };
}
