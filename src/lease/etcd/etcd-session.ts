/**
 * The HTTP/2 connection to one endpoint: connect-node's, with a safety net.
 *
 * When a ping goes unanswered, connect-node destroys the connection with an error, which Node.js emits some turns of the
 * event loop later. If a request comes in between, connect-node has taken its listener off by then, and an `error` event
 * without a listener ends the process.
 */

import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import { Http2SessionManager } from "@connectrpc/connect-node";

export class EtcdSession extends Http2SessionManager {
  readonly #guarded = new WeakSet<ClientHttp2Session>();

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
