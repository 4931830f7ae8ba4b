/**
 * One port for HTTP/2 (gRPC) and HTTP/1.1 (/health, /version), plain or TLS. With TLS the client says which (ALPN,
 * RFC 7301); without, its first bytes do: HTTP/2 with prior knowledge begins with a preface (RFC 9113, 3.4).
 */

import { once } from "node:events";
import { createServer as createHttp1Server, type IncomingMessage, type ServerResponse } from "node:http";
import {
  createServer as createHttp2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { ConfigError, messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import { RpcError } from "../protocol/rpc-error.ts";
import { refuse } from "./grpc-server.ts";

export interface FrontDoorOptions {
  readonly listen: readonly Listen[];
  readonly tls: ServerTls | undefined;
  readonly logger: Logger;
  /** Serves an HTTP/2 request. */
  readonly onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;
  /** Serves an HTTP/1.1 request. */
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void;
}

/** Port 0 = any free one. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** PEM texts. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** Whoever has no certificate signed by one of these is refused; undefined = everybody is let in. */
  readonly clientCa: string | undefined;
}

/** A client that says nothing for so long is not one of ours. */
const FIRST_BYTES_TIMEOUT_MS = 10_000;
/** Then the system asks whether the other end still lives; without an answer the connection ends some seconds later. */
const KEEPALIVE_DELAY_MS = 30_000;
/** As etcd: a client's streams are not counted. Memory is bounded for each of them. */
const MAX_STREAMS = 2 ** 31 - 1;
/** What node:http2 may hold for one connection, in MB: a listing of 100,000 keys goes out in one piece. */
const MAX_SESSION_MB = 256;

export class FrontDoor implements AsyncDisposable {
  readonly #servers: readonly Server[];
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #http2;
  readonly #http1;
  /** For clients without a certificate that is trusted: they are told so, and nothing else. */
  readonly #refusingHttp2;
  readonly #refusingHttp1;
  readonly #options: FrontDoorOptions;

  /** Throws ConfigError if an address is taken or not this host's, or if the certificates do not fit. */
  static async open(options: FrontDoorOptions): Promise<FrontDoor> {
    const door = new FrontDoor(options);
    try {
      for (const [index, server] of door.#servers.entries()) {
        await listen(server, options.listen[index]!);
        server.on("error", (error) =>
          options.logger.warn(`the store cannot take a client: ${messageOf(error)}`),
        );
      }
    } catch (error) {
      await door[Symbol.asyncDispose]();
      throw error;
    }
    return door;
  }

  private constructor(options: FrontDoorOptions) {
    this.#options = options;
    this.#http2 = createHttp2Server({
      settings: { maxConcurrentStreams: MAX_STREAMS },
      maxSessionMemory: MAX_SESSION_MB,
    });
    this.#http2.on("stream", (stream: ServerHttp2Stream, headers) => {
      try {
        options.onStream(stream, headers);
      } catch (error) {
        refuse(stream, error, options.logger); // no request ends the process
      }
    });
    this.#http2.on("session", (session) => {
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
    });
    this.#http2.on("sessionError", (error) => options.logger.debug(`store client: ${messageOf(error)}`));
    this.#http1 = createHttp1Server(options.onRequest);
    this.#refusingHttp2 = createHttp2Server();
    this.#refusingHttp2.on("stream", (stream: ServerHttp2Stream) => {
      refuseClient(stream);
      stream.session?.close();
    });
    this.#refusingHttp2.on("sessionError", () => {});
    this.#refusingHttp1 = createHttp1Server((_, response) => {
      response.writeHead(401, { "content-type": "application/json", connection: "close" });
      response.end(`${JSON.stringify({ error: NOT_TRUSTED })}\n`);
    });
    this.#servers = options.listen.map(() => this.#createServer());
  }

  /** Where it listens, in the order of `options.listen`. */
  get addresses(): readonly AddressInfo[] {
    return this.#servers.map((server) => server.address() as AddressInfo);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#servers
      .filter((server) => server.listening)
      .map((server) => new Promise((resolve) => server.close(resolve)));
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets) socket.destroy();
    for (const server of [this.#http1, this.#http2, this.#refusingHttp1, this.#refusingHttp2]) server.close();
    await Promise.all(closed);
  }

  #createServer(): Server {
    const { tls, logger } = this.#options;
    const common = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_DELAY_MS };
    if (tls === undefined) return this.#track(createTcpServer(common, (socket) => this.#sniff(socket)));
    const server = createTlsServer(
      {
        ...common,
        cert: tls.cert,
        key: tls.key,
        // Whoever is not authorized is refused below, in words: node:tls would just cut the connection.
        ...(tls.clientCa !== undefined && { ca: tls.clientCa, requestCert: true, rejectUnauthorized: false }),
        ALPNProtocols: ["h2", "http/1.1"],
        handshakeTimeout: FIRST_BYTES_TIMEOUT_MS,
      },
      (socket) => {
        const isHttp2 = socket.alpnProtocol === "h2";
        if (tls.clientCa === undefined || socket.authorized) this.#enter(socket, isHttp2);
        else this.#turnAway(socket, isHttp2);
      },
    );
    server.on("tlsClientError", (error) => logger.debug(`store client refused: ${messageOf(error)}`));
    return this.#track(server);
  }

  #track<S extends Server>(server: S): S {
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    });
    return server;
  }

  /** Waits for enough bytes to tell HTTP/2 from HTTP/1.1: "PRI" is no method of the latter. */
  #sniff(socket: Socket): void {
    socket.setTimeout(FIRST_BYTES_TIMEOUT_MS, () => socket.destroy());
    let bytes = Buffer.alloc(0);
    const look = (piece: Buffer) => {
      bytes = Buffer.concat([bytes, piece]);
      const start = bytes.toString("latin1", 0, PREFACE_START.length);
      if (start.length < PREFACE_START.length && PREFACE_START.startsWith(start)) return;
      socket.off("data", look).off("end", giveUp).pause();
      socket.setTimeout(0);
      socket.unshift(bytes);
      const isHttp2 = start === PREFACE_START;
      this.#enter(socket, isHttp2);
      if (!isHttp2) socket.resume(); // node:http2 reads by itself what was put back
    };
    const giveUp = () => socket.destroy();
    socket.on("data", look).on("end", giveUp);
  }

  #turnAway(socket: TLSSocket, isHttp2: boolean): void {
    this.#options.logger.debug(`store client refused: ${socket.authorizationError}`);
    socket.setTimeout(FIRST_BYTES_TIMEOUT_MS, () => socket.destroy());
    (isHttp2 ? this.#refusingHttp2 : this.#refusingHttp1).emit("connection", socket);
  }

  #enter(socket: Socket | TLSSocket, isHttp2: boolean): void {
    (isHttp2 ? this.#http2 : this.#http1).emit("connection", socket);
  }
}

const PREFACE_START = "PRI";
const NOT_TRUSTED = "this server wants a client certificate that it trusts";

const refuseClient = (stream: ServerHttp2Stream): void =>
  refuse(stream, new RpcError("UNAUTHENTICATED", NOT_TRUSTED));

async function listen(server: Server, { host, port }: Listen): Promise<void> {
  try {
    server.listen({ host, port, backlog: 4096 });
    await once(server, "listening");
  } catch (error) {
    throw new ConfigError(`the store cannot listen on ${host} port ${port}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
