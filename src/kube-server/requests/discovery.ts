/** Discovery: version, health and resources of the server. */

import type { Json, JsonObject } from "../objects/kube-object.ts";
import { RESOURCES } from "../objects/resources.ts";
import { STATUS_VERBS, VERBS } from "./request-target.ts";

/** The version whose API is served. */
const VERSION = {
  major: "1",
  minor: "32",
  gitVersion: "v1.32.4",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: "",
  compiler: "",
  platform: "linux/amd64",
};

/** JSON or plain text; undefined = no such page. `address` is the server's own, "127.0.0.1:6443". */
export function discoveryPage(path: string, address: string): JsonObject | string | undefined {
  switch (path.length > 1 ? path.replace(/\/$/, "") : path) {
    case "/":
      return {
        paths: ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"],
      };
    case "/healthz":
    case "/livez":
    case "/readyz":
      return "ok";
    case "/version":
      return VERSION;
    case "/api":
      return {
        kind: "APIVersions",
        versions: ["v1"],
        serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: address }],
      };
    case "/apis":
      return { kind: "APIGroupList", apiVersion: "v1", groups: [] };
    case "/api/v1":
      return { kind: "APIResourceList", groupVersion: "v1", resources: RESOURCES.flatMap(entriesOf) };
    case "/openapi/v3":
      return { paths: { "api/v1": { serverRelativeURL: "/openapi/v3/api/v1" } } };
    case "/openapi/v3/api/v1":
      return OPENAPI;
    default:
      return undefined;
  }
}

function entriesOf({
  name,
  singularName,
  shortNames,
  kind,
  isNamespaced,
  categories,
}: (typeof RESOURCES)[number]) {
  return [
    {
      name,
      singularName,
      namespaced: isNamespaced,
      kind,
      verbs: VERBS,
      shortNames,
      ...(categories && { categories }),
    },
    { name: `${name}/status`, singularName: "", namespaced: isNamespaced, kind, verbs: STATUS_VERBS },
  ] satisfies Json[];
}

/** Just enough for kubectl to leave validation to the server. */
const OPENAPI: JsonObject = {
  openapi: "3.0.0",
  info: { title: "Kubernetes", version: VERSION.gitVersion },
  paths: Object.fromEntries(
    RESOURCES.map(({ name, kind, isNamespaced }) => [
      `/api/v1/${isNamespaced ? "namespaces/{namespace}/" : ""}${name}/{name}`,
      {
        patch: {
          parameters: [
            { name: "fieldValidation", in: "query", schema: { type: "string", uniqueItems: true } },
          ],
          "x-kubernetes-group-version-kind": { group: "", version: "v1", kind },
        },
      },
    ]),
  ),
};
