/** The verb and resource of a request, from its method and path (k8s.io/apiserver/pkg/endpoints/request, RequestInfo). */

import { methodNotAllowed, noSuchResource } from "../objects/kube-error.ts";
import { RESOURCES, type Resource } from "../objects/resources.ts";
import { nameOf } from "../objects/selectors.ts";

/** A verb as in the rules of a ClusterRole. */
export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection";

/** A request for objects. */
export interface ApiRequest {
  readonly verb: Verb;
  readonly kind: Resource;
  /** Includes the subresource: "nodes", "nodes/status". */
  readonly resource: string;
  readonly subresource: string | undefined;
  readonly namespace: string | undefined;
  /** For lists and watches: the name that the field selector requires. */
  readonly name: string | undefined;
  readonly query: URLSearchParams;
}

const OBJECTS =
  /^\/(?:api|apis\/([a-z0-9.]+))\/v1(?:\/namespaces\/([^/]+))?\/([a-z]+)(?:\/([^/]+)(?:\/([^/]+))?)?\/?$/;

/** Undefined = the path is not an object's. Throws KubeError NotFound for resources that the server does not have. */
export function parseRequest(method: string, url: URL): ApiRequest | undefined {
  const match = OBJECTS.exec(url.pathname);
  if (match === null) {
    if (/^\/(?:api\/v1|apis\/[^/]+\/[^/]+)\/./.test(url.pathname)) throw noSuchResource();
    return undefined;
  }
  const [group = "", ...parts] = match.slice(1).map((part) => part && decode(part));
  const [namespace, resource, name, subresource] = isNamespaceStatus(parts)
    ? [undefined, "namespaces", parts[0], "status"]
    : parts;
  const kind = RESOURCES.find((known) => known.group === group && known.name === resource);
  if (kind === undefined) throw noSuchResource();
  if (subresource !== undefined && !(subresource === "status" && kind.hasStatus)) throw noSuchResource();
  if (kind.isNamespaced ? namespace === undefined && name !== undefined : namespace !== undefined) {
    throw noSuchResource();
  }
  const verb = verbOf(method, name !== undefined, url.searchParams);
  return {
    verb,
    kind,
    resource: subresource === undefined ? kind.name : `${kind.name}/${subresource}`,
    subresource,
    namespace,
    name: name ?? nameOf(url.searchParams.get("fieldSelector") ?? ""),
    query: url.searchParams,
  };
}

/** /api/v1/namespaces/NAME/status has the form of a list of objects in a namespace. */
const isNamespaceStatus = ([namespace, resource, name]: readonly (string | undefined)[]): boolean =>
  namespace !== undefined && resource === "status" && name === undefined;

/** Throws KubeError MethodNotAllowed for an unsupported verb. */
export function checkVerb({ verb, kind, subresource, namespace }: ApiRequest): void {
  const known = subresource === undefined ? VERBS : STATUS_VERBS;
  if (!known.includes(verb)) throw methodNotAllowed();
  if (verb === "create" && kind.isNamespaced && namespace === undefined) throw methodNotAllowed();
}

/** The verbs of the resources. */
export const VERBS: readonly Verb[] = ["create", "delete", "get", "list", "patch", "update", "watch"];
/** The verbs of their status subresource. */
export const STATUS_VERBS: readonly Verb[] = ["get", "patch", "update"];

/** Whether a boolean parameter is given and true. */
export const isSet = (query: URLSearchParams, name: string): boolean =>
  query.has(name) && !["", "0", "false"].includes(query.get(name)!.toLowerCase());

function verbOf(method: string, isNamed: boolean, query: URLSearchParams): Verb {
  switch (method) {
    case "GET":
      if (isNamed) return "get";
      return isSet(query, "watch") ? "watch" : "list";
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    case "DELETE":
      return isNamed ? "delete" : "deletecollection";
    default:
      throw methodNotAllowed();
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw noSuchResource();
  }
}
