/** Getting and listing: versions, pages, selectors (kubernetes.io/docs/reference/using-api/api-concepts). */

import { badRequest, invalid, KubeError, notFound, tooLargeVersion } from "../objects/kube-error.ts";
import type { JsonObject, KubeObject } from "../objects/kube-object.ts";
import type { ObjectStore } from "../objects/object-store.ts";
import { qualifiedName } from "../objects/resources.ts";
import { parseSelectors } from "../objects/selectors.ts";
import type { ApiRequest } from "./request-target.ts";

/** Objects and the metadata of their list. */
export interface ListResult {
  readonly metadata: JsonObject & { readonly resourceVersion: string };
  readonly items: readonly KubeObject[];
}

/** Throws KubeError NotFound, Timeout. */
export function get(store: ObjectStore, { name, namespace, query }: ApiRequest): KubeObject {
  const requested = parseVersion(query);
  if ((requested ?? 0) > store.revision) throw tooLargeVersion(requested!, store.revision);
  const object = store.get(name!, namespace);
  if (object === undefined) throw notFound(qualifiedName(store.resource), name!);
  return object;
}

/** Throws KubeError BadRequest, Invalid, Expired (with a token to continue with), Timeout. */
export function list(store: ObjectStore, request: ApiRequest): ListResult {
  const { query } = request;
  const selector = selectorOf(store, request);
  const requested = parseVersion(query);
  const match = query.get("resourceVersionMatch") ?? "";
  const token = query.get("continue") ?? "";
  checkOptions(query, requested, match, token);

  let limit = parseCount(query, "limit");
  let revision = store.revision;
  let start = "";
  if (token !== "") {
    const page = parseToken(token);
    start = page.start;
    // -1 = the token of an expired page: continue at the same key in the current objects.
    if (page.revision !== -1) revision = page.revision;
  } else if (requested === 0) {
    // kube-apiserver answers this from its cache, without paging.
    limit = 0;
  } else if (requested !== undefined) {
    if (requested > revision) throw tooLargeVersion(requested, revision);
    if (match === "Exact" || (match === "" && limit > 0)) revision = requested;
  }

  const objects = objectsAt(store, revision, start).filter(
    (object) => (start === "" || store.keyOf(object) >= start) && (selector?.(object) ?? true),
  );
  if (limit === 0 || objects.length <= limit) {
    return { metadata: { resourceVersion: String(revision) }, items: objects };
  }
  const items = objects.slice(0, limit);
  return {
    metadata: {
      resourceVersion: String(revision),
      continue: makeToken(revision, `${store.keyOf(items.at(-1)!)}\0`),
      ...(!hasSelectors(query) && { remainingItemCount: objects.length - limit }),
    },
    items,
  };
}

/** The selectors and namespace of a list or watch; undefined = all objects. Throws KubeError BadRequest. */
export const selectorOf = (store: ObjectStore, { query, namespace }: ApiRequest) =>
  parseSelectors(
    store.resource,
    query.get("fieldSelector") ?? "",
    query.get("labelSelector") ?? "",
    namespace,
  );

/** Undefined = none requested. */
export function parseVersion(query: URLSearchParams): number | undefined {
  const text = query.get("resourceVersion") ?? "";
  if (text === "") return undefined;
  if (!/^\d{1,15}$/.test(text)) {
    throw invalid("ListOptions.meta.k8s.io", "", [
      {
        field: "resourceVersion",
        reason: "FieldValueInvalid",
        message: `Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`,
      },
    ]);
  }
  return Number(text);
}

/** 0 = none given. */
export function parseCount(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? "";
  if (text === "") return 0;
  if (!/^\d{1,15}$/.test(text)) {
    throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  return Number(text);
}

const hasSelectors = (query: URLSearchParams): boolean =>
  Boolean(query.get("fieldSelector") || query.get("labelSelector"));

function checkOptions(
  query: URLSearchParams,
  requested: number | undefined,
  match: string,
  token: string,
): void {
  const refuse = (field: string, message: string) =>
    invalid("ListOptions.meta.k8s.io", "", [
      { field, reason: "FieldValueForbidden", message: `Forbidden: ${message}` },
    ]);
  if (query.has("sendInitialEvents")) {
    throw refuse("sendInitialEvents", "sendInitialEvents is forbidden for list");
  }
  if (token !== "" && requested !== undefined && requested !== 0) {
    throw badRequest("specifying resource version is not allowed when using continue");
  }
  if (match === "") return;
  const field = "resourceVersionMatch";
  if (requested === undefined) {
    throw refuse(field, "resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  if (token !== "") throw refuse(field, "resourceVersionMatch is forbidden when continue is provided");
  if (match !== "Exact" && match !== "NotOlderThan") {
    throw invalid("ListOptions.meta.k8s.io", "", [
      {
        field,
        reason: "FieldValueInvalid",
        message: `Unsupported value: ${JSON.stringify(match)}: supported values: "Exact", "NotOlderThan"`,
      },
    ]);
  }
  if (match === "Exact" && requested === 0) {
    throw refuse(field, 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"');
  }
}

/** As `store.listAt`; the error for an expired page has a token to continue with, as kube-apiserver's. */
function objectsAt(store: ObjectStore, revision: number, start: string): readonly KubeObject[] {
  try {
    return store.listAt(revision);
  } catch (error) {
    if (!(error instanceof KubeError) || error.code !== "Expired" || start === "") throw error;
    throw new KubeError(
      410,
      "Expired",
      "The provided continue parameter is too old to display a consistent list result. You can start a new list " +
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the " +
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, " +
        "modified, or deleted between the time the first chunk was returned and now may show up in the list.",
      undefined,
      { continue: makeToken(-1, start) },
    );
  }
}

const makeToken = (revision: number, start: string): string =>
  Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start })).toString("base64url");

function parseToken(token: string): { readonly revision: number; readonly start: string } {
  try {
    const { v, rv, start } = JSON.parse(Buffer.from(token, "base64url").toString());
    if (v === "meta.k8s.io/v1" && Number.isInteger(rv) && typeof start === "string") {
      return { revision: rv, start };
    }
  } catch {
    // reported below
  }
  throw badRequest("continue key is not valid");
}
