/**
 * The HTTP/2 connection to one endpoint: connect-node's, with its own dialling and an error listener.
 *
 * It dials itself because each new connection must use the current certificates. The listener is needed because
 * connect-node destroys the connection with an error when a ping goes unanswered, which Node.js emits some turns of the
 * event loop later. If a request comes in between, connect-node has removed its own listener by then, and an `error` event
 * without a listener ends the process.
 */

import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type SecureContextOptions } from "node:tls";
import { Http2SessionManager } from "@connectrpc/connect-node";

const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

/** Keepalive of the connection (HTTP/2 PING, RFC 9113 §6.7; in ms), its TLS, and a counter's hook. */
export interface SessionOptions {
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  /** For https; undefined for http. */
  readonly readTls: (() => SecureContextOptions) | undefined;
  /** Called when a connection is begun. */
  readonly onDial: () => void;
}

/** One HTTP/2 connection, dialled again after it broke. An error of the connection fails its requests and nothing else. */
export class EtcdSession extends Http2SessionManager {
  readonly #guarded = new WeakSet<ClientHttp2Session>();

  constructor(url: string, { readTls, onDial, ...pings }: SessionOptions) {
    super(url, pings, {
      createConnection(authority) {
        onDial();
        return dial(authority, readTls?.());
      },
    });
  }

  override async request(...request: Parameters<Http2SessionManager["request"]>): Promise<ClientHttp2Stream> {
    const stream = await super.request(...request);
    const connection = stream.session as ClientHttp2Session | undefined;
    if (connection !== undefined && !this.#guarded.has(connection)) {
      this.#guarded.add(connection);
      connection.on("error", () => {}); // the streams on it end with the error
    }
    return stream;
  }
}

function dial({ protocol, hostname, port }: URL, tls: SecureContextOptions | undefined): Socket {
  const host = hostname.replace(/^\[|\]$/g, ""); // [::1]
  const to = { host, port: port === "" ? DEFAULT_PORTS[protocol]! : Number(port) };
  if (tls === undefined) return connectTcp(to);
  return connectTls({ ...to, ...tls, ALPNProtocols: ["h2"], ...(isIP(host) === 0 && { servername: host }) });
}
