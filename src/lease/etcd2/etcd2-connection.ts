/**
 * The connection to an etcd cluster by the v2 API: HTTP to the member that worked last, the next one when it fails.
 *
 * HTTP/1.1 has no pings. A poll without a change is ended after a while and started again: so a member that hangs or has lost
 * the others is noticed, and the index to continue from stays recent enough for etcd's history.
 */

import type { IncomingMessage } from "node:http";
import { StoreError } from "../../base/error.ts";
import { EndpointRotation } from "../etcd/endpoint-rotation.ts";
import { type EtcdFailure, summarize } from "../etcd/etcd-error.ts";
import type { EtcdSettings } from "../etcd/etcd-options.ts";
import { Silence } from "../network-failure.ts";
import { describeKeysFailure, NoLeader, UnusableAnswer } from "./etcd2-error.ts";
import {
  decodeKeysBody,
  ECODE_EVENT_INDEX_CLEARED,
  ECODE_KEY_NOT_FOUND,
  ECODE_NODE_EXIST,
  ECODE_TEST_FAILED,
  isRefusal,
  type KeysAnswer,
  type KeysRefusal,
  type KeysRequest,
  pathOfKey,
} from "./keys-api.ts";
import { KeysEndpoint, readBody } from "./keys-endpoint.ts";

/** Longest duration of a silent poll, in keep-alive intervals. More than one, because a new poll costs a connection. */
const POLL_LIFE_INTERVALS = 3;

/** Refusals that are answers: the key does not exist, exists already, has changed; the index is too old. */
const ANSWERS: readonly number[] = [
  ECODE_KEY_NOT_FOUND,
  ECODE_TEST_FAILED,
  ECODE_NODE_EXIST,
  ECODE_EVENT_INDEX_CLEARED,
];

/** The state of the whole store in which an answer was given. */
export interface StoreState {
  readonly index: number;
  /** Undefined = this etcd does not report it. */
  readonly clusterId: string | undefined;
}

/** A response: the store's position from its headers, and the body, which may be a refusal (errorCode). */
export interface Answer {
  readonly state: StoreState;
  readonly body: KeysAnswer | KeysRefusal;
}

/** A request that waits for the next change. */
export interface Poll {
  /** When the wait began. */
  readonly state: StoreState;
  /** The change, or a refusal; undefined = none came in time. Throws StoreError. */
  next(): Promise<KeysAnswer | KeysRefusal | undefined>;
}

/** Requests and polls to one cluster. Both throw StoreError; disposing it closes the connections. */
export class Etcd2Connection implements Disposable {
  readonly settings: EtcdSettings;
  readonly #endpoints: EndpointRotation<KeysEndpoint>;
  readonly #random: () => number;
  #requestCount = 0;

  /** `random`: 0 ≤ random() < 1, so that thousands of hosts do not poll at the same moments. */
  constructor(settings: EtcdSettings, random: () => number) {
    this.settings = settings;
    this.#random = random;
    this.#endpoints = new EndpointRotation(
      settings.endpoints.map((url) => new KeysEndpoint(url, settings)),
      0,
      (error, endpoint) => this.#describe(error, endpoint),
    );
  }

  /** Requests made so far. */
  get requestCount(): number {
    return this.#requestCount;
  }

  /**
   * Makes a request, at one endpoint after the other until it succeeds. It may run more than once, also after a request
   * that etcd carried out but whose answer was lost: writes must be compare-and-swap. Throws StoreError.
   */
  async call(request: KeysRequest): Promise<Answer> {
    return this.#endpoints.run(async (endpoint) => {
      const message = await this.#send(endpoint, request);
      return this.#readAnswer(message);
    });
  }

  /**
   * Waits for the change of `key`, or of anything below it, with index `fromIndex` or the next one after that.
   * `afterSilence`: also checks whether the endpoint has a leader; one that lost the others would stay silent for ever.
   * Throws StoreError.
   */
  async poll(key: string, fromIndex: number, afterSilence: boolean, signal: AbortSignal): Promise<Poll> {
    return this.#endpoints.run(async (endpoint) => {
      if (afterSilence) await this.#refuseLeaderless(endpoint);
      const query = { wait: "true", recursive: "true", waitIndex: String(fromIndex) };
      const message = await this.#send(endpoint, { method: "GET", key, query }, signal);
      message.on("error", () => {}); // the caller may not be reading yet
      if (message.statusCode !== 200) {
        const { state, body } = await this.#readAnswer(message);
        return { state, next: async () => body };
      }
      const lifeMs =
        this.settings.timings.keepaliveIntervalMs * POLL_LIFE_INTERVALS * (0.75 + this.#random() / 2);
      const next = async () => {
        const text = await readBody(message, lifeMs);
        return text ? decodeAnswer(message, text).body : undefined; // some versions end a silent poll themselves
      };
      return {
        state: stateOf(message),
        next: () =>
          next().catch((error: unknown) => {
            throw error instanceof StoreError ? error : summarize([this.#describe(error, endpoint)], error);
          }),
      };
    });
  }

  [Symbol.dispose](): void {
    for (const endpoint of this.#endpoints.members) endpoint[Symbol.dispose]();
  }

  #describe(error: unknown, endpoint: KeysEndpoint): EtcdFailure {
    return describeKeysFailure(error, endpoint, this.settings);
  }

  #send(endpoint: KeysEndpoint, request: KeysRequest, signal?: AbortSignal): Promise<IncomingMessage> {
    this.#requestCount++;
    const { method, key, query, form } = request;
    return endpoint.send({ method, path: `${pathOfKey(key)}?${new URLSearchParams(query)}`, form, signal });
  }

  async #readAnswer(message: IncomingMessage): Promise<Answer> {
    const text = await readBody(message, this.settings.timings.requestTimeoutMs);
    if (text === undefined) throw new Silence();
    return decodeAnswer(message, text);
  }

  async #refuseLeaderless(endpoint: KeysEndpoint): Promise<void> {
    this.#requestCount++;
    const message = await endpoint.send({ method: "GET", path: "/v2/members/leader" });
    await readBody(message, this.settings.timings.requestTimeoutMs);
    if (message.statusCode === 503) throw new NoLeader();
  }
}

/** Throws {@link UnusableAnswer}. */
function decodeAnswer(message: IncomingMessage, text: string): Answer {
  const status = message.statusCode ?? 0;
  const body = decodeKeysBody(text);
  if (body !== undefined) {
    const isAnswer = isRefusal(body) ? ANSWERS.includes(body.errorCode) : status === 200 || status === 201;
    if (isAnswer) return { state: stateOf(message), body };
  }
  throw new UnusableAnswer(status, body !== undefined && isRefusal(body) ? body : undefined);
}

function stateOf(message: IncomingMessage): StoreState {
  const index = message.headers["x-etcd-index"];
  const clusterId = message.headers["x-etcd-cluster-id"];
  if (typeof index !== "string" || !/^\d{1,15}$/.test(index)) {
    throw new UnusableAnswer(message.statusCode ?? 0, undefined);
  }
  return { index: Number(index), clusterId: typeof clusterId === "string" ? clusterId : undefined };
}
