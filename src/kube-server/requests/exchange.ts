/** Requests and responses in the formats of the API server: JSON objects, tables, plain text. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { badRequest, notAcceptable, tooLarge } from "../objects/kube-error.ts";
import type { Json, JsonObject, KubeObject } from "../objects/kube-object.ts";
import { type Included, tableOf, wantsTable } from "./kubectl-table.ts";
import type { ApiRequest } from "./request-target.ts";

const MAX_BODY_BYTES = 3 * 1024 * 1024;

/** Throws KubeError BadRequest. */
export function urlOf({ url }: IncomingMessage): URL {
  const parsed = URL.parse(url ?? "", "http://server");
  if (parsed === null) throw badRequest("the request's target is not a path");
  return parsed;
}

/** Undefined = no body. Throws KubeError RequestEntityTooLarge or BadRequest, and errors of the connection. */
export async function readBody(request: IncomingMessage): Promise<Json> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw tooLarge(MAX_BODY_BYTES);
  }
  if (bytes === 0) return null;
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    throw badRequest("couldn't get version/kind; json parse error: the body is not JSON");
  }
}

/** The media type of a request's body, without parameters; "" = none. */
export const contentTypeOf = ({ headers }: IncomingMessage): string =>
  (headers["content-type"] ?? "").split(";")[0]!.trim().toLowerCase();

/** Throws KubeError NotAcceptable if the client does not accept JSON. */
export function checkAccept({ headers }: IncomingMessage): void {
  const { accept = "" } = headers;
  if (accept !== "" && !/(?:^|,)\s*(?:application\/(?:json|\*)|\*\/\*)/.test(accept)) throw notAcceptable();
}

/** Renders objects as a table. */
export type TableMaker = (
  objects: readonly KubeObject[],
  metadata: JsonObject,
  hasHead?: boolean,
) => JsonObject;

/** Undefined = the client requests plain objects. Throws KubeError BadRequest. */
export function tableMaker(
  { headers }: IncomingMessage,
  { query, kind }: ApiRequest,
): TableMaker | undefined {
  if (!wantsTable(headers.accept ?? "")) return undefined;
  const included = query.get("includeObject") ?? "Metadata";
  if (!isIncluded(included))
    throw badRequest(`unrecognized includeObject value: ${JSON.stringify(included)}`);
  return (objects, metadata, hasHead) => tableOf(kind, objects, metadata, included, Date.now(), hasHead);
}

const isIncluded = (text: string): text is Included => ["None", "Metadata", "Object"].includes(text);

/** Sends JSON, or text unchanged. Truncated: closes the connection after half of the announced length. */
export function reply(
  { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
  status: number,
  content: JsonObject | string,
  isTruncated = false,
): void {
  const isText = typeof content === "string";
  const body = Buffer.from(isText ? content : `${JSON.stringify(content)}\n`);
  response.writeHead(status, {
    "content-type": isText ? "text/plain; charset=utf-8" : "application/json",
    "content-length": body.length,
    "cache-control": "no-cache, private",
    // The unread rest of a refused body would be parsed as the next request.
    ...(!request.complete && { connection: "close" }),
  });
  if (isTruncated) {
    response.write(body.subarray(0, body.length >> 1));
    request.socket.destroySoon();
  } else {
    response.end(body);
  }
}
