/**
 * Server-sent events (HTML Standard, 9.2) over HTTP, from the event log. A client that does not read is dropped: when the
 * ring has wrapped, or when its connection has been idle for too long. It can resume with Last-Event-ID.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { headersOf, IDLE_TIMEOUT_MS, queryOf, send } from "./bounded-server.ts";
import type { EventLog } from "./event-log.ts";

/** Fewer than the server's connections, so that it stays usable. */
const MAX_STREAMS = 200;
const HEARTBEAT_MS = IDLE_TIMEOUT_MS / 2;

/** The event streams of one server. */
export class EventStreams {
  readonly #log: EventLog;
  #count = 0;

  constructor(log: EventLog) {
    this.#log = log;
  }

  serve(request: IncomingMessage, response: ServerResponse): void {
    if (this.#count >= MAX_STREAMS) {
      response.setHeader("Retry-After", "10");
      send(response, 503, `there are ${MAX_STREAMS} event streams already; close one\n`);
      return;
    }
    const log = this.#log;
    const query = queryOf(request);
    const follow = query.get("follow") ?? "true";
    if (follow !== "true" && follow !== "false") {
      send(response, 400, "follow is true or false\n");
      return;
    }
    const isFollowing = follow === "true";
    const lastId = request.headers["last-event-id"] ?? query.get("after");
    const { number, isGap } =
      typeof lastId === "string" ? log.continueAfter(lastId) : { number: log.next, isGap: false };
    response.writeHead(200, headersOf("text/event-stream"));
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    response.write(isGap ? "event: gap\ndata: {}\n\n" : ": connected\n\n");
    let next = number;
    let isBlocked = false;
    const pump = () => {
      if (next < log.first) {
        response.destroy();
        return;
      }
      while (!isBlocked && next < log.next) isBlocked = !response.write(log.frame(next++)!);
      if (!isFollowing && next === log.next) response.end();
    };
    this.#count++;
    const unsubscribe = isFollowing ? log.subscribe(pump) : () => {};
    const heartbeat = setInterval(() => {
      if (response.writableLength === 0) response.write(": heartbeat\n\n");
    }, HEARTBEAT_MS).unref();
    response.on("drain", () => {
      isBlocked = false;
      pump();
    });
    response.once("close", () => {
      this.#count--;
      unsubscribe();
      clearInterval(heartbeat);
    });
    pump();
  }
}
