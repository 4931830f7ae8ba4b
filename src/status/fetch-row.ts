/** Requests another host's row of the matrix from its status server, with bounds on time and size: it may be hostile. */

import { type IncomingMessage, request } from "node:http";
import { FlannelError, hasCode, messageOf } from "../base/error.ts";
import { ENDPOINTS, type Row } from "./api.ts";
import { readAs } from "./read-as.ts";

const TIMEOUT_MS = 1_000;
const MAX_BYTES = 64 * 1024;
const MAX_HEADER_BYTES = 4 * 1024;

/** Rejects with a FlannelError that says why there is no row. */
export async function fetchRow(host: string, port: number, worst: number | undefined): Promise<Row> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  let body: string;
  try {
    body = await get(host, port, `/v1/probes${worst === undefined ? "" : `?worst=${worst}`}`, signal);
  } catch (error) {
    if (error instanceof FlannelError) throw error;
    throw new FlannelError(
      "EIO",
      signal.aborted ? `no answer within ${TIMEOUT_MS / 1_000} s` : explain(error),
      {
        cause: error,
      },
    );
  }
  const row = readAs(ENDPOINTS["/v1/probes"].schema, parse(body));
  if (row === undefined) throw new FlannelError("EBADMSG", "its answer is malformed, or of another version");
  return row;
}

async function get(host: string, port: number, path: string, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const options = { host, port, path, signal, agent: false, maxHeaderSize: MAX_HEADER_BYTES };
  const sent = request(options, resolve).once("error", reject).end();
  const response = await promise;
  try {
    if (response.statusCode !== 200)
      throw new FlannelError("EIO", `it answers with HTTP status ${response.statusCode}`);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_BYTES)
        throw new FlannelError("EMSGSIZE", `its answer is longer than ${MAX_BYTES} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString();
  } finally {
    sent.on("error", () => {}).destroy();
  }
}

function explain(error: unknown): string {
  return hasCode(error, "ECONNREFUSED")
    ? "it refuses the connection; start flanneld there with the same --status-listen"
    : messageOf(error);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
