/**
 * One port for HTTP/2 (gRPC) and HTTP/1.1 (/health, /version), plain or TLS. With TLS the client chooses the protocol by ALPN
 * (RFC 7301); without, its first bytes show it: HTTP/2 with prior knowledge starts with a preface (RFC 9113, 3.4).
 */

import { once } from "node:events";
import {
  createServer as createHttp1Server,
  type Server as Http1Server,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import {
  createServer as createHttp2Server,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { ConfigError, messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import { RpcError } from "../protocol/rpc-error.ts";
import { FilterRelay } from "./filter-relay.ts";
import { refuse } from "./grpc-server.ts";
import { outliveStream } from "./session-lifetimes.ts";
import { ConnectionTraffic, Traffic, type TrafficLimits } from "./traffic.ts";

/** What {@link FrontDoor.open} needs. */
/** What {@link FrontDoor.open} needs. */
export interface FrontDoorOptions {
  readonly listen: readonly Listen[];
  readonly tls: ServerTls | undefined;
  readonly logger: Logger;
  readonly limits?: TrafficLimits | undefined;
  /** Serves an HTTP/2 request. */
  readonly onStream: (
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    traffic: ConnectionTraffic,
  ) => void;
  /** Serves an HTTP/1.1 request. */
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void;
}

/** A TCP address to listen on; port 0 = any free port. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** Certificates and key as PEM texts. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** Clients without a certificate signed by one of these are refused; undefined = all clients are accepted. */
  readonly clientCa: string | undefined;
}

/** A client that sends nothing for this long is disconnected. */
const FIRST_BYTES_TIMEOUT_MS = 10_000;
/** TCP keepalive: after this much silence the kernel probes the peer. */
const KEEPALIVE_DELAY_MS = 30_000;
/** Streams of one connection; traffic.ts bounds those of all. */
const MAX_STREAMS = 4096;
/** What node:http2 may hold for one connection, in MB: a listing of 100,000 keys is sent in one piece. */
const MAX_SESSION_MB = 256;
/** A gRPC request of etcd's clients has some hundred bytes of headers. */
const MAX_HEADER_LIST_BYTES = 16 * 1024;
/** Connections at a time. Above it those without streams are closed, the oldest first. */
const MAX_CONNECTIONS = 8192;
/** An HTTP/1.1 connection serves one request in this time. */
const HTTP1_TIMEOUT_MS = 10_000;
const SWEEP_INTERVAL_MS = 1_000;

/** What serves the two protocols of a connection. */
interface Servers {
  readonly http2: Http2Server;
  readonly http1: Http1Server;
}

export class FrontDoor implements AsyncDisposable {
  readonly #servers: readonly Server[];
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Map<ServerHttp2Session, ConnectionTraffic>();
  readonly #traffic: Traffic;
  #relay: FilterRelay | undefined;
  readonly #sweeping: NodeJS.Timeout;
  readonly #serving: Servers;
  /** For clients without a trusted certificate: they receive that error and nothing else. */
  readonly #refusing: Servers;
  readonly #options: FrontDoorOptions;

  /** Throws ConfigError if an address is in use or foreign, or if certificate and key do not match. */
  static async open(options: FrontDoorOptions): Promise<FrontDoor> {
    const door = new FrontDoor(options);
    try {
      door.#relay = await FilterRelay.open();
      for (const [index, server] of door.#servers.entries()) {
        await listen(server, options.listen[index]!);
        server.on("error", (error) =>
          options.logger.warn(`Embedded store failed to accept a client: ${messageOf(error)}`),
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
    const http2 = createHttp2Server({
      settings: { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADER_LIST_BYTES },
      maxSessionMemory: MAX_SESSION_MB,
    });
    this.#traffic = new Traffic(options.limits);
    this.#sweeping = setInterval(() => this.#traffic.sweep(performance.now()), SWEEP_INTERVAL_MS).unref();
    onRequests(
      http2,
      (stream, headers) => {
        const traffic = stream.session && this.#sessions.get(stream.session as ServerHttp2Session);
        if (traffic !== undefined) options.onStream(stream, headers, traffic);
      },
      options.logger,
    );
    http2.on("sessionError", (error) => options.logger.debug(`Store client failed: ${messageOf(error)}`));
    this.#serving = { http2, http1: createHttp1Server(options.onRequest) };
    const refusingHttp2 = createHttp2Server();
    onRequests(refusingHttp2, refuseClient, options.logger);
    refusingHttp2.on("sessionError", () => {});
    const refusingHttp1 = createHttp1Server((_, response) => {
      response.writeHead(401, { "content-type": "application/json", connection: "close" });
      response.end(`${JSON.stringify({ error: NOT_TRUSTED })}\n`);
    });
    this.#refusing = { http2: refusingHttp2, http1: refusingHttp1 };
    this.#servers = options.listen.map(() => this.#createServer());
  }

  /** The addresses it listens on, in the order of `options.listen`. */
  get addresses(): readonly AddressInfo[] {
    return this.#servers.map((server) => server.address() as AddressInfo);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#servers
      .filter((server) => server.listening)
      .map((server) => new Promise((resolve) => server.close(resolve)));
    clearInterval(this.#sweeping);
    // Sockets first: a session that is destroyed while it can still write sends GOAWAY.
    for (const socket of this.#sockets) socket.destroy();
    for (const session of this.#sessions.keys()) session.destroy();
    for (const { http1, http2 } of [this.#serving, this.#refusing]) {
      http1.close();
      http2.close();
    }
    await Promise.all([...closed, this.#relay?.[Symbol.asyncDispose]()]);
  }

  #createServer(): Server {
    const { tls, logger } = this.#options;
    const common = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_DELAY_MS };
    if (tls === undefined)
      return this.#track(createTcpServer(common, (socket) => this.#sniff(socket, this.#serving)));
    const server = createTlsServer(
      {
        ...common,
        cert: tls.cert,
        key: tls.key,
        // Unauthorized clients are refused below with an error status: node:tls would only close the connection.
        ...(tls.clientCa !== undefined && { ca: tls.clientCa, requestCert: true, rejectUnauthorized: false }),
        ALPNProtocols: ["h2", "http/1.1"],
        handshakeTimeout: FIRST_BYTES_TIMEOUT_MS,
      },
      (socket) => {
        const isHttp2 = socket.alpnProtocol === "h2";
        const isTrusted = tls.clientCa === undefined || socket.authorized;
        if (!isTrusted) this.#turnAway(socket);
        const servers = isTrusted ? this.#serving : this.#refusing;
        if (isHttp2) this.#sniff(socket, servers);
        else this.#enter(servers, socket, false, Buffer.alloc(0));
      },
    );
    server.on("tlsClientError", (error) => logger.debug(`Store client refused: ${messageOf(error)}`));
    return this.#track(server);
  }

  #track<S extends Server>(server: S): S {
    server.on("connection", (socket: Socket) => {
      if (this.#sockets.size >= MAX_CONNECTIONS) this.#makeRoom(socket);
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    });
    return server;
  }

  /** Waits for enough bytes to tell HTTP/2 from HTTP/1.1 ("PRI" is not a method of the latter). */
  #sniff(socket: Socket, servers: Servers): void {
    const deadline = setTimeout(() => socket.destroy(), FIRST_BYTES_TIMEOUT_MS);
    let bytes: Buffer = Buffer.alloc(0);
    const look = (piece: Buffer) => {
      bytes = Buffer.concat([bytes, piece]);
      const start = bytes.toString("latin1", 0, PREFACE_START.length);
      if (start.length < PREFACE_START.length && PREFACE_START.startsWith(start)) return;
      clearTimeout(deadline);
      socket.off("data", look).off("end", giveUp).pause();
      this.#enter(servers, socket, start === PREFACE_START, bytes);
    };
    const giveUp = () => socket.destroy();
    socket
      .on("data", look)
      .on("end", giveUp)
      .on("close", () => clearTimeout(deadline));
  }

  /** Closes the oldest connection without streams, else the new one. */
  #makeRoom(newcomer: Socket): void {
    for (const [session, connection] of this.#sessions) {
      if (connection.streams.size > 0 || session.destroyed) continue;
      connection.destroy();
      return;
    }
    newcomer.destroy();
  }

  /** Serves a connection, of which `bytes` have been read. */
  #enter({ http2, http1 }: Servers, socket: Socket, isHttp2: boolean, bytes: Buffer): void {
    if (!isHttp2) {
      const deadline = setTimeout(() => socket.destroy(), HTTP1_TIMEOUT_MS);
      socket.on("close", () => clearTimeout(deadline));
      socket.unshift(bytes);
      http1.emit("connection", socket);
      socket.resume();
      return;
    }
    this.#relay?.serve(socket, bytes, (inner) => {
      const onSession = (session: ServerHttp2Session) => this.#account(session, socket);
      http2.once("session", onSession); // emitted at once
      http2.emit("connection", inner);
      http2.off("session", onSession);
    });
  }

  #account(session: ServerHttp2Session, client: Socket): void {
    const traffic = new ConnectionTraffic(this.#traffic, client);
    this.#sessions.set(session, traffic);
    session.on("close", () => {
      this.#sessions.delete(session);
      traffic.close();
    });
  }

  #turnAway(socket: TLSSocket): void {
    this.#options.logger.debug(`Store client refused: ${socket.authorizationError}`);
    socket.setTimeout(FIRST_BYTES_TIMEOUT_MS, () => socket.destroy());
  }
}

const PREFACE_START = "PRI";
const NOT_TRUSTED = "this server requires a trusted client certificate";

function refuseClient(stream: ServerHttp2Stream): void {
  refuse(stream, new RpcError("UNAUTHENTICATED", NOT_TRUSTED));
  stream.session?.close();
}

/** Serves the requests of a server; none of them, failing or broken off, ends the process. */
function onRequests(
  server: Http2Server,
  serve: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  logger: Logger,
): void {
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => {}); // before all else: a stream can arrive broken; "close" follows
    if (stream.session !== undefined) outliveStream(stream.session as ServerHttp2Session, stream);
    try {
      serve(stream, headers);
    } catch (error) {
      refuse(stream, error, logger);
    }
  });
}

async function listen(server: Server, { host, port }: Listen): Promise<void> {
  try {
    server.listen({ host, port, backlog: 4096 });
    await once(server, "listening");
  } catch (error) {
    throw new ConfigError(`store failed to listen on ${host} port ${port}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
