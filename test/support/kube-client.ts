/** A client of the Kubernetes API that hides nothing: requests as they are, watches line by line. */

import { once } from "node:events";
import { Agent, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

const ANSWER_MS = 10_000;

export interface KubeCall {
  readonly method?: string;
  /** JSON, or text as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly tls?: { readonly ca: string; readonly cert?: string; readonly key?: string };
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into answers as they come
export type Answer = any;

/** The answer's head; its body is still to be read. */
export async function open(url: string, { method, body, headers, tls }: KubeCall = {}) {
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const options = {
    method: method ?? "GET",
    headers: {
      ...(text !== undefined && {
        "content-type": "application/json",
        "content-length": String(Buffer.byteLength(text)),
      }),
      ...headers,
    },
    signal: AbortSignal.timeout(ANSWER_MS),
  };
  const outgoing = url.startsWith("https:")
    ? requestHttps(url, { ...options, ...tls, agent: false })
    : requestHttp(url, { ...options, agent: new Agent() });
  outgoing.end(text);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  return response;
}

/** The whole answer, parsed if it is JSON. */
export async function call(url: string, options: KubeCall = {}) {
  const response = await open(url, options);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  const isJson = response.headers["content-type"]?.startsWith("application/json");
  return {
    status: response.statusCode!,
    headers: response.headers,
    body: (isJson ? JSON.parse(text) : text) as Answer,
  };
}

export const mergePatch = (body: unknown): KubeCall => ({
  method: "PATCH",
  body,
  headers: { "content-type": "application/merge-patch+json", "user-agent": "tester/1" },
});

export const strategicPatch = (body: unknown): KubeCall => ({
  method: "PATCH",
  body,
  headers: { "content-type": "application/strategic-merge-patch+json", "user-agent": "tester/1" },
});

/** An open watch. */
export class KubeWatch implements Disposable {
  readonly response: IncomingMessage;
  readonly #lines: AsyncIterator<string>;

  constructor(response: IncomingMessage) {
    this.response = response;
    this.#lines = linesOf(response);
  }

  /** The next line as it came; undefined = the watch has ended. */
  async nextLine(): Promise<string | undefined> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(`no event for ${ANSWER_MS} ms`)), ANSWER_MS);
    try {
      const { done, value } = await Promise.race([this.#lines.next(), promise]);
      return done ? undefined : value;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Undefined = the watch has ended. */
  async next(): Promise<Answer | undefined> {
    const line = await this.nextLine();
    return line === undefined ? undefined : JSON.parse(line);
  }

  [Symbol.dispose](): void {
    this.response.destroy();
  }
}

/** Opens a watch; throws unless it is granted. */
export async function watch(url: string, options: KubeCall = {}): Promise<KubeWatch> {
  const response = await open(url, options);
  if (response.statusCode !== 200) throw new Error(`the watch was answered with ${response.statusCode}`);
  return new KubeWatch(response);
}

/** The lines of an answer; when it breaks off, what there is of the last one. */
async function* linesOf(response: IncomingMessage): AsyncGenerator<string, undefined> {
  let rest = "";
  try {
    for await (const chunk of response.setEncoding("utf8")) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      yield* lines;
    }
  } catch {
    // `response.errored` says it.
  }
  if (rest !== "") yield rest;
}
