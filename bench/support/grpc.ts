/**
 * A gRPC client that does next to nothing, so that servers are measured and not the client: messages go in and out as
 * bytes, a listing is not even decoded.
 */

import { type ClientHttp2Session, connect } from "node:http2";

const HEADERS = { ":method": "POST", "content-type": "application/grpc", te: "trailers" };
const PREFIX_BYTES = 5;
/** A listing of 100,000 keys comes in one piece. */
const WINDOW_BYTES = 16 * 1024 * 1024;

export class RawGrpc implements Disposable {
  readonly #session: ClientHttp2Session;

  constructor(endpoint: string) {
    this.#session = connect(endpoint, { settings: { initialWindowSize: WINDOW_BYTES } });
    this.#session.on("connect", () => this.#session.setLocalWindowSize(WINDOW_BYTES));
    this.#session.on("error", () => {});
  }

  /** The response message's bytes. Rejects with the server's message if it refuses. */
  unary(path: string, message: Uint8Array): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({ ...HEADERS, ":path": path });
      const pieces: Buffer[] = [];
      let status: unknown;
      const read = (headers: Record<string, unknown>) => {
        if (headers["grpc-status"] === undefined) return;
        status = headers["grpc-status"] === "0" ? undefined : headers["grpc-message"];
      };
      stream.on("response", read);
      stream.on("trailers", read);
      stream.on("data", (piece: Buffer) => pieces.push(piece));
      stream.on("error", reject);
      stream.on("end", () => {
        if (status === undefined) resolve(Buffer.concat(pieces).subarray(PREFIX_BYTES));
        else reject(new Error(String(status)));
      });
      stream.end(frame(message));
    });
  }

  /** Opens a stream with one request; `onData` is called with all data. Resolves with the first. */
  open(path: string, message: Uint8Array, onData: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({ ...HEADERS, ":path": path });
      stream.on("error", reject);
      stream.once("data", () => {
        stream.on("data", onData);
        resolve();
      });
      stream.write(frame(message));
    });
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}

function frame(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
