/** Getting and listing: versions, pages, selectors (kubernetes.io/docs/reference/using-api/api-concepts). */

import { badRequest, invalid, KubeError, notFound, tooLargeVersion } from "../objects/kube-error.ts";
import type { JsonObject, KubeObject } from "../objects/kube-object.ts";
import type { ObjectStore } from "../objects/object-store.ts";
import { parseSelectors } from "../objects/selectors.ts";
import type { ApiRequest } from "./request-target.ts";

/** Objects and what the head of their list says. */
export interface ListResult {
  readonly metadata: JsonObject & { readonly resourceVersion: string };
  readonly items: readonly KubeObject[];
}

/** Throws KubeError NotFound, Timeout. */
export function get(store: ObjectStore, { name, namespace, query }: ApiRequest): KubeObject {
  const asked = parseVersion(query);
  if ((asked ?? 0) > store.revision) throw tooLargeVersion(asked!, store.revision);
  const object = store.get(name!, namespace);
  if (object === undefined) throw notFound(store.resource.name, name!);
  return object;
}

/** Throws KubeError BadRequest, Invalid, Expired (with a token to go on with), Timeout. */
export function list(store: ObjectStore, request: ApiRequest): ListResult {
  const { query } = request;
  const selector = selectorOf(store, request);
  const asked = parseVersion(query);
  const match = query.get("resourceVersionMatch") ?? "";
  const token = query.get("continue") ?? "";
  checkOptions(query, asked, match, token);

  let limit = parseCount(query, "limit");
  let revision = store.revision;
  let start = "";
  if (token !== "") {
    const page = parseToken(token);
    start = page.start;
    // -1: the token of an expired one: from the same place in what there is now.
    if (page.revision !== -1) revision = page.revision;
  } else if (asked === 0) {
    // The real server answers from its memory, whole.
    limit = 0;
  } else if (asked !== undefined) {
    if (asked > revision) throw tooLargeVersion(asked, revision);
    if (match === "Exact" || (match === "" && limit > 0)) revision = asked;
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

export const selectorOf = (store: ObjectStore, { query, namespace }: ApiRequest) =>
  parseSelectors(
    store.resource,
    query.get("fieldSelector") ?? "",
    query.get("labelSelector") ?? "",
    namespace,
  );

/** Undefined = none asked for. */
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

function checkOptions(query: URLSearchParams, asked: number | undefined, match: string, token: string): void {
  const refuse = (field: string, message: string) =>
    invalid("ListOptions.meta.k8s.io", "", [
      { field, reason: "FieldValueForbidden", message: `Forbidden: ${message}` },
    ]);
  if (query.has("sendInitialEvents")) {
    throw refuse("sendInitialEvents", "sendInitialEvents is forbidden for list");
  }
  if (token !== "" && asked !== undefined && asked !== 0) {
    throw badRequest("specifying resource version is not allowed when using continue");
  }
  if (match === "") return;
  const field = "resourceVersionMatch";
  if (asked === undefined) {
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
  if (match === "Exact" && asked === 0) {
    throw refuse(field, 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"');
  }
}

/** As `store.listAt`, but of an expired page: a token to go on with, as the real server offers it. */
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
    // said below
  }
  throw badRequest("continue key is not valid");
}
