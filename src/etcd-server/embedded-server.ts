/** Serves an embedded store to etcd clients: gRPC, and etcd's /health and /version over HTTP. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "../base/logger.ts";
import { systemTimers, type Timers } from "../base/timers.ts";
import { Watch } from "../etcd-api/rpc_pb.ts";
import { FairQueue } from "./grpc/fair-queue.ts";
import { FrontDoor, type Listen, type ServerTls } from "./grpc/front-door.ts";
import { type Methods, pathOf, serveStream } from "./grpc/grpc-server.ts";
import type { TrafficLimits } from "./grpc/traffic.ts";
import { clusterMethods, SERVER_VERSION } from "./services/cluster-service.ts";
import { Encoding } from "./services/etcd-messages.ts";
import { kvMethods } from "./services/kv-service.ts";
import { KEEP_ALIVE_PATH, keepAliveMethod, leaseMethods } from "./services/lease-service.ts";
import { watchMethod } from "./services/watch-service.ts";
import type { EmbeddedStore } from "./store/embedded-store.ts";

/** What {@link EmbeddedServer.start} needs. */
/** What {@link EmbeddedServer.start} needs. */
export interface EmbeddedServerOptions {
  readonly store: EmbeddedStore;
  readonly listen: readonly Listen[];
  readonly tls?: ServerTls | undefined;
  readonly logger: Logger;
  readonly timers?: Timers;
  /** Budgets of memory and time for clients; default: traffic.ts. */
  readonly limits?: TrafficLimits | undefined;
}

/** The listening server of a store. */
/** The listening server of a store. */
export class EmbeddedServer implements AsyncDisposable {
  readonly #door: FrontDoor;
  /** The URLs of the server: "http://127.0.0.1:2379". */
  readonly endpoints: readonly string[];

  /** Throws ConfigError if it fails to listen. The caller closes the store, after the server. */
  static async start(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
    const { store, logger, tls, timers = systemTimers } = options;
    const encoding = new Encoding(store);
    const queue = new FairQueue();
    let endpoints: readonly string[] = [];
    const methods: Methods = {
      unary: new Map([
        ...kvMethods(store, encoding),
        ...leaseMethods(store, encoding),
        ...clusterMethods(store, encoding, () => endpoints),
      ]),
      streams: new Map([
        [pathOf(Watch.method.watch), watchMethod(store, encoding, timers)],
        [KEEP_ALIVE_PATH, keepAliveMethod(store, encoding)],
      ]),
    };
    const door = await FrontDoor.open({
      listen: options.listen,
      tls,
      logger,
      limits: options.limits,
      onStream: (stream, headers, traffic) =>
        serveStream(stream, headers, { methods, traffic, queue, logger }),
      onRequest: (request, response) => answerHttp(store, request, response),
    });
    endpoints = door.addresses.map(({ address, port, family }) => {
      const host = family === "IPv6" ? `[${address}]` : address;
      return `${tls === undefined ? "http" : "https"}://${host}:${port}`;
    });
    logger.info(
      `Embedded store serves etcd's clients at ${endpoints.join(", ")}; it is a single server, not a cluster`,
    );
    return new EmbeddedServer(door, endpoints);
  }

  private constructor(door: FrontDoor, endpoints: readonly string[]) {
    this.#door = door;
    this.endpoints = endpoints;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#door[Symbol.asyncDispose]();
  }
}

/** Health and version for operators, load balancers and probes. */
function answerHttp(store: EmbeddedStore, { url, method }: IncomingMessage, response: ServerResponse): void {
  const answer = (status: number, body: object) => {
    response.writeHead(status, { "content-type": "application/json", connection: "close" });
    response.end(`${JSON.stringify(body)}\n`);
  };
  if (method !== "GET" && method !== "HEAD") answer(405, { error: "only GET and HEAD are allowed" });
  else if (url === "/version") answer(200, { etcdserver: SERVER_VERSION, etcdcluster: "3.4.0" });
  else if (url === "/health") answer(store.isHealthy ? 200 : 503, { health: String(store.isHealthy) });
  else answer(404, { error: "not found; try /health or /version" });
}
