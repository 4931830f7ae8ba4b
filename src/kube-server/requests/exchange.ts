/** HTTP as the API server speaks it: bodies in, objects, tables and plain pages out. */

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

/** Undefined = it has none. Throws KubeError RequestEntityTooLarge, BadRequest; what the connection throws. */
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

export const contentTypeOf = ({ headers }: IncomingMessage): string =>
  (headers["content-type"] ?? "").split(";")[0]!.trim().toLowerCase();

/** Throws KubeError NotAcceptable if the client takes no JSON. */
export function checkAccept({ headers }: IncomingMessage): void {
  const { accept = "" } = headers;
  if (accept !== "" && !/(?:^|,)\s*(?:application\/(?:json|\*)|\*\/\*)/.test(accept)) throw notAcceptable();
}

/** Makes tables of objects, if that is what the client asks for. */
export type TableMaker = (
  objects: readonly KubeObject[],
  metadata: JsonObject,
  hasHead?: boolean,
) => JsonObject;

/** Undefined = it wants the objects themselves. Throws KubeError BadRequest. */
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

/** Sends JSON, or text as it is. Truncated: the head promises twice of what comes before the connection closes. */
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
    // What is left of a body that was refused would be taken for the next request.
    ...(!request.complete && { connection: "close" }),
  });
  if (isTruncated) {
    response.write(body.subarray(0, body.length >> 1));
    request.socket.destroySoon();
  } else {
    response.end(body);
  }
}
