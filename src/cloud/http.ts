/**
 * The HTTP client of all clouds: one request with a deadline and a limited answer, through the proxy of HTTPS_PROXY,
 * HTTP_PROXY and NO_PROXY, or directly for metadata services. Errors name the host, never a header, query or body: those may
 * contain secrets.
 */

import {
  Agent as HttpAgent,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { messageOf } from "../base/error.ts";
import { CloudError } from "./cloud.ts";

/** One request. */
interface HttpRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** http or https. */
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Until the whole answer is read. Default 15 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** The whole answer; any status. */
export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

/** Sends one request. Throws CloudError UNAVAILABLE if there is no answer, NOT_UNDERSTOOD if it is too long. */
export type HttpSend = (request: HttpRequest) => Promise<HttpAnswer>;

const TIMEOUT_MS = 15_000;
/** A route table of 1,000 routes is some 400 kB in EC2's XML. */
const LONGEST_ANSWER_BYTES = 8 << 20;

/** A client; `environment` names the proxies. Connections are not kept: an idle host makes two requests a minute. */
export function createHttp(environment: Readonly<Record<string, string | undefined>>): HttpSend {
  const options = { proxyEnv: environment as NodeJS.ProcessEnv, keepAlive: false };
  return sendWith(new HttpAgent(options), new HttpsAgent(options));
}

/** A client for metadata services: they are on the link of the instance, and no proxy reaches them. */
export const createDirectHttp = (): HttpSend => sendWith(new HttpAgent(), new HttpsAgent());

function sendWith(httpAgent: HttpAgent, httpsAgent: HttpsAgent): HttpSend {
  return async ({ method, url, headers = {}, body, timeoutMs = TIMEOUT_MS, signal }) => {
    const isSecure = url.protocol === "https:";
    const deadline = AbortSignal.timeout(timeoutMs);
    const options: RequestOptions = {
      method,
      headers: body === undefined ? headers : { ...headers, "content-length": `${Buffer.byteLength(body)}` },
      agent: isSecure ? httpsAgent : httpAgent,
      signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]),
    };
    try {
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        const request = (isSecure ? requestHttps : requestHttp)(url, options, resolve);
        request.on("error", reject);
        request.end(body);
      });
      const text = await readBody(response, url);
      return { status: response.statusCode ?? 0, headers: plainHeaders(response), body: text };
    } catch (error) {
      if (error instanceof CloudError) throw error;
      const why = deadline.aborted ? `no answer within ${timeoutMs / 1000} s` : messageOf(error);
      throw new CloudError("UNAVAILABLE", `${url.host} is unavailable: ${why}`);
    }
  };
}

async function readBody(response: IncomingMessage, url: URL): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > LONGEST_ANSWER_BYTES) {
      throw new CloudError(
        "NOT_UNDERSTOOD",
        `the answer of ${url.host} is longer than ${LONGEST_ANSWER_BYTES >> 20} MiB`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

const plainHeaders = ({ headers }: IncomingMessage): Record<string, string | undefined> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]),
  );

/**
 * The wait that Retry-After asks for, in milliseconds (RFC 9110, 10.2.3: seconds or a date); undefined = none, or malformed.
 */
export function retryAfterMsOf(answer: HttpAnswer, wallClockMs: number): number | undefined {
  const value = answer.headers["retry-after"]?.trim();
  if (value === undefined || value === "") return undefined;
  if (/^\d{1,6}$/.test(value)) return Number(value) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - wallClockMs);
}

/** The error for an answer that is not the API's; says what came instead, and who may have sent it. */
export function notUnderstood(url: URL, answer: HttpAnswer, expected: "JSON" | "XML"): CloudError {
  const isHtml = /^\s*<(?:!doctype html|html)/i.test(answer.body);
  const what = isHtml ? "an HTML page" : answer.body === "" ? "nothing" : `no ${expected}`;
  const message =
    `${url.host} answered ${what} with status ${answer.status}` +
    (isHtml ? "; a proxy or portal may be in between: check HTTPS_PROXY, NO_PROXY and the endpoint" : "");
  // What a load balancer answers for a server that is down.
  return new CloudError(answer.status >= 500 ? "UNAVAILABLE" : "NOT_UNDERSTOOD", message);
}
