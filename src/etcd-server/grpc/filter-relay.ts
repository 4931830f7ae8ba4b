/**
 * Connections whose incoming bytes pass {@link AuthorityFilter} before node:http2 reads them. They are relayed over a local
 * socket, so that node:http2 gets a socket of the system: with a stream in JavaScript it ends the process when a session is
 * destroyed while a write is pending (an assertion in JSStreamSocket.doWrite, Node.js 26). A connection costs two more
 * descriptors; only clients that need the filter, or may need it, get one.
 */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { pipeline, Transform } from "node:stream";
import { AuthorityFilter } from "./authority-filter.ts";

const TOKEN_BYTES = 16;

/** A client that does not show its token in this time is disconnected. */
const TOKEN_TIMEOUT_MS = 10_000;

interface Waiting {
  readonly client: Socket;
  /** Receives the socket for node:http2. */
  readonly onSocket: (socket: Socket) => void;
}

export class FilterRelay implements AsyncDisposable {
  readonly #server: Server;
  readonly #path: string;
  /** Clients on their way through the local socket, by the token that they show there. */
  readonly #waiting = new Map<string, Waiting>();

  /** Throws if the local socket cannot be opened. */
  static async open(): Promise<FilterRelay> {
    const path = `\0flannel-store-${randomBytes(TOKEN_BYTES).toString("hex")}`; // abstract: no file (unix(7))
    const relay = new FilterRelay(path);
    relay.#server.listen({ path, backlog: 4096 });
    await once(relay.#server, "listening");
    relay.#server.on("error", () => {}); // failed to accept: the client's connection ends
    return relay;
  }

  private constructor(path: string) {
    this.#path = path;
    this.#server = createServer((inner) => this.#accept(inner));
  }

  /**
   * Serves a client of which `bytes` were read. One whose first request is among them and needs no repair (flanneld's, which
   * does not wait for the server's SETTINGS) is read directly.
   */
  serve(client: Socket, bytes: Buffer, onSocket: (socket: Socket) => void): void {
    const filter = new AuthorityFilter();
    const first = filter.push(bytes);
    if (filter.isConforming) {
      client.unshift(Buffer.concat([first, filter.held])); // node:http2 reads by itself what was put back
      onSocket(client);
      return;
    }
    const token = randomBytes(TOKEN_BYTES);
    const name = token.toString("hex");
    this.#waiting.set(name, { client, onSocket });
    client.on("close", () => this.#waiting.delete(name));
    const outer = connect({ path: this.#path });
    outer.write(Buffer.concat([token, first]));
    const filtering = new Transform({
      transform: (piece: Buffer, _encoding, done) => done(null, filter.push(piece)),
    });
    const end = () => {
      client.destroy();
      outer.destroy();
    };
    pipeline(client, filtering, outer, (error) => error && end());
    pipeline(outer, client, end);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const { client } of this.#waiting.values()) client.destroy();
    await promise;
  }

  /** Anyone on this machine can connect; only clients of {@link serve} know a token. */
  #accept(inner: Socket): void {
    inner.on("error", () => {}).setTimeout(TOKEN_TIMEOUT_MS, () => inner.destroy());
    let bytes: Buffer = Buffer.alloc(0);
    const read = (piece: Buffer) => {
      bytes = Buffer.concat([bytes, piece]);
      if (bytes.length < TOKEN_BYTES) return;
      inner.off("data", read).pause();
      const name = bytes.toString("hex", 0, TOKEN_BYTES);
      const waiting = this.#waiting.get(name);
      this.#waiting.delete(name);
      if (waiting === undefined || waiting.client.destroyed) {
        inner.destroy();
        return;
      }
      waiting.client.on("close", () => inner.destroy());
      inner.setTimeout(0);
      inner.unshift(bytes.subarray(TOKEN_BYTES));
      waiting.onSocket(inner);
    };
    inner.on("data", read);
  }
}
