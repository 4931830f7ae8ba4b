/**
 * Calls of the Compute Engine API v1: JSON over HTTPS with an access token, and operations awaited.
 * https://cloud.google.com/compute/docs/reference/rest/v1
 */

import { sleep } from "../../base/timers.ts";
import { type Json, readJson, textAt, valueAt } from "../answer-json.ts";
import { CloudError } from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import { endpointOf } from "../endpoint.ts";
import { Expiring } from "../expiring.ts";
import { retryAfterMsOf } from "../http.ts";
import { errorOfAnswer, errorOfOperation, type GceCall } from "./gce-error.ts";
import type { GceMetadata } from "./metadata.ts";

/** gcloud's own variable: the URL in place of the API's. */
const ENDPOINT_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE";
const DEFAULT_ENDPOINT = "https://compute.googleapis.com/compute/v1/";
/** The metadata server hands out the same token until five minutes before its end; asking earlier gives no newer one. */
const TOKEN_MARGIN_MS = 4 * 60_000;
/** The server holds operations.wait for up to two minutes. */
const WAIT_TIMEOUT_MS = 130_000;
/** As long as Go flannel polled, and some more. */
const OPERATION_TIMEOUT_MS = 180_000;
const MIN_PAUSE_MS = 500;
const MAX_PAUSE_MS = 8_000;

/** What a call needs besides its name. */
interface GceRequest {
  readonly call: GceCall;
  readonly method: "GET" | "POST" | "DELETE";
  /** Below the API's version: "projects/p/global/routes". */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
}

export class ComputeApi {
  readonly #ports: CloudPorts;
  readonly #base: string;
  readonly #token: Expiring<string>;
  /** Name of this instance, for remedies. */
  instance = "INSTANCE";

  /** Throws CloudError for an endpoint that cannot be used. */
  constructor(metadata: GceMetadata, ports: CloudPorts) {
    this.#ports = ports;
    this.#base = endpointOf(ports.environment, ENDPOINT_VARIABLE, DEFAULT_ENDPOINT);
    this.#token = new Expiring((signal) => metadata.token(signal), {
      nowMs: ports.timers.nowMs,
      marginMs: TOKEN_MARGIN_MS,
    });
  }

  /** The object that the API answered. Throws CloudError. */
  async call({ call, method, path, query = {}, body, timeoutMs, signal }: GceRequest): Promise<Json> {
    const url = new URL(this.#base + path);
    url.search = new URLSearchParams(query).toString();
    const token = await this.#token.get(signal);
    const answer = await this.#ports.http({
      ...{ method, url, signal },
      ...(timeoutMs !== undefined && { timeoutMs }),
      headers: {
        authorization: `Bearer ${token}`,
        "user-agent": "flanneld",
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const { status } = answer;
    if (status === 401) this.#token.drop();
    const retryAfterMs = retryAfterMsOf(answer, this.#ports.wallClockMs());
    const json = readJson(url, answer);
    if (status >= 200 && status < 300) return json;
    throw errorOfAnswer(call, { status, json, retryAfterMs }, this.instance);
  }

  /** Resolves when the operation is done. Throws CloudError if it failed, or takes too long. */
  async finish(call: GceCall, started: Json, signal: AbortSignal): Promise<void> {
    const deadline = this.#ports.timers.nowMs() + OPERATION_TIMEOUT_MS;
    let operation = started;
    for (let pauseMs = MIN_PAUSE_MS; textAt(operation, "status") !== "DONE"; pauseMs *= 2) {
      const path = operationPath(started);
      const { nowMs } = this.#ports.timers;
      if (nowMs() > deadline) {
        throw new CloudError(
          "UNAVAILABLE",
          `Compute Engine API: the operation of ${call.name} did not end within ${OPERATION_TIMEOUT_MS / 1000} s`,
        );
      }
      const askedAtMs = nowMs();
      operation = await this.call({
        call: { name: "globalOperations.wait", permission: "compute.globalOperations.get" },
        ...{ method: "POST", path: `${path}/wait`, timeoutMs: WAIT_TIMEOUT_MS, signal },
      });
      // "Best effort": a server that is overloaded answers at once.
      const pause = Math.min(pauseMs, MAX_PAUSE_MS) - (nowMs() - askedAtMs);
      if (textAt(operation, "status") !== "DONE" && pause > 0) await sleep(this.#ports.timers, pause, signal);
    }
    const error = errorOfOperation(call, operation);
    if (error !== undefined) throw error;
  }
}

/** "projects/p/global/operations/operation-1" of an operation. Throws CloudError if it is none. */
function operationPath(operation: Json): string {
  const path = resourcePath(textAt(operation, "selfLink"));
  if (/^projects\/[^/]+\/global\/operations\/[^/]+$/.test(path)) return path;
  throw new CloudError(
    "NOT_UNDERSTOOD",
    `the Compute Engine API answered no operation, but ${String(valueAt(operation, "kind")).slice(0, 60)}`,
  );
}

/** "projects/p/…" of the URL of a resource: they are written with different hosts and versions. */
export function resourcePath(link: string): string {
  const start = link.indexOf("projects/");
  return start < 0 ? link : link.slice(start);
}
