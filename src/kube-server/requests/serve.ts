/** Answers requests for objects from their store. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { badRequest, invalid, unsupportedMediaType } from "../objects/kube-error.ts";
import type { JsonObject, KubeObject } from "../objects/kube-object.ts";
import { writerOf } from "../objects/managed-fields.ts";
import type { ObjectStore } from "../objects/object-store.ts";
import { apiVersionOf } from "../objects/resources.ts";
import { contentTypeOf, readBody, tableMaker } from "./exchange.ts";
import { get, list, parseCount, parseVersion, selectorOf } from "./reads.ts";
import { type ApiRequest, isSet } from "./request-target.ts";
import { WatchStream } from "./watch-stream.ts";
import { create, PATCH_TYPES, patch, remove, update, type WriteRequest } from "./writes.ts";

/** A watch without a timeout lasts half an hour to an hour (kube-apiserver's --min-request-timeout). */
const MIN_WATCH_MS = 1_800_000;
/** Content types of all bodies except patches; a missing one means JSON. */
const BODY_TYPES = ["application/json", ""];
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Status and content of the answer to all requests except watches. Throws KubeError. */
export async function serve(
  store: ObjectStore,
  api: ApiRequest,
  request: IncomingMessage,
): Promise<readonly [status: number, content: JsonObject]> {
  if (api.verb === "get") return [200, shown(get(store, api), api, request)];
  if (api.verb === "list") {
    const { metadata, items } = list(store, api);
    const table = tableMaker(request, api)?.(items, metadata);
    if (table !== undefined) return [200, table];
    const { kind } = api.kind;
    return [
      200,
      { kind: `${kind}List`, apiVersion: apiVersionOf(api.kind), metadata, items: items.map(withoutType) },
    ];
  }
  const contentType = contentTypeOf(request);
  const accepted = api.verb === "patch" ? PATCH_TYPES : BODY_TYPES;
  if (!accepted.includes(contentType)) throw unsupportedMediaType(accepted.filter((type) => type !== ""));
  const write: WriteRequest = {
    store,
    namespace: api.namespace,
    name: api.name,
    writer: writerOf(api.query.get("fieldManager"), request.headers["user-agent"], api.subresource),
    body: await readBody(request),
    isDryRun: isDryRun(api),
  };
  switch (api.verb) {
    case "create":
      return [201, shown(create(write), api, request)];
    case "update":
      return [200, shown(update(write), api, request)];
    case "patch":
      return [200, shown(patch(write, contentType), api, request)];
    default:
      return [200, deletion(remove(write), api)];
  }
}

/** Opens a watch and sends its headers. Throws KubeError. */
export function openWatch(
  store: ObjectStore,
  api: ApiRequest,
  request: IncomingMessage,
  response: ServerResponse,
  isTruncated: boolean,
): WatchStream {
  const { query } = api;
  if (query.has("sendInitialEvents")) {
    // As kube-apiserver without this feature: clients then fall back to list and watch.
    throw forbiddenOption(
      "sendInitialEvents",
      "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
    );
  }
  if (query.has("resourceVersionMatch")) {
    throw forbiddenOption(
      "resourceVersionMatch",
      "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    );
  }
  const timeoutMs = parseCount(query, "timeoutSeconds") * 1000;
  const table = tableMaker(request, api);
  // The columns are sent once, with the first event.
  let hasHead = true;
  return new WatchStream({
    store,
    request,
    response,
    selector: selectorOf(store, api),
    since: parseVersion(query) || undefined,
    wantsBookmarks: isSet(query, "allowWatchBookmarks"),
    timeoutMs: timeoutMs > 0 ? Math.min(timeoutMs, MAX_TIMER_MS) : MIN_WATCH_MS * (1 + Math.random()),
    transform:
      table &&
      ((object) => {
        const { resourceVersion } = object.metadata;
        const shownOnce = table([object], { ...(resourceVersion && { resourceVersion }) }, hasHead);
        hasHead = false;
        return shownOnce;
      }),
    isTruncated,
  });
}

function shown(object: KubeObject, api: ApiRequest, request: IncomingMessage): JsonObject {
  const { resourceVersion } = object.metadata;
  return tableMaker(request, api)?.([object], { ...(resourceVersion && { resourceVersion }) }) ?? object;
}

/** For a pod or namespace the object, for others a Status. */
function deletion(deleted: KubeObject, { kind }: ApiRequest): JsonObject {
  if (kind.kind === "Pod" || kind.kind === "Namespace") return deleted;
  const { name, uid } = deleted.metadata;
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: { name, kind: kind.name, ...(uid && { uid }) },
  };
}

/** Elements of a list have no kind and apiVersion: the list has them. */
function withoutType({ kind: _, apiVersion: __, ...object }: KubeObject): JsonObject {
  return object;
}

function isDryRun({ query }: ApiRequest): boolean {
  const values = query.getAll("dryRun").filter((value) => value !== "");
  if (values.some((value) => value !== "All")) {
    throw badRequest(`dryRun: Unsupported value: ${JSON.stringify(values[0])}: supported values: "All"`);
  }
  return values.length > 0;
}

const forbiddenOption = (field: string, message: string) =>
  invalid("ListOptions.meta.k8s.io", "", [
    { field, reason: "FieldValueForbidden", message: `Forbidden: ${message}` },
  ]);
