/** Discovery: version, health and resources of the server. */

import type { Json, JsonObject } from "../objects/kube-object.ts";
import { apiVersionOf, NETWORK_POLICIES, RESOURCES, type Resource } from "../objects/resources.ts";
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

const NETWORKING = NETWORK_POLICIES.group;
const GROUP_VERSION = { groupVersion: apiVersionOf(NETWORK_POLICIES), version: "v1" };
/** An APIGroup (meta/v1). */
const GROUP = { name: NETWORKING, versions: [GROUP_VERSION], preferredVersion: GROUP_VERSION };

/** JSON or plain text; undefined = no such page. `address` is the server's own, "127.0.0.1:6443". */
export function discoveryPage(path: string, address: string): JsonObject | string | undefined {
  switch (path.length > 1 ? path.replace(/\/$/, "") : path) {
    case "/":
      return {
        paths: [
          ...["/api", "/api/v1", "/apis", `/apis/${NETWORKING}`, `/apis/${NETWORKING}/v1`],
          ...["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"],
        ],
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
      return { kind: "APIGroupList", apiVersion: "v1", groups: [GROUP] };
    case `/apis/${NETWORKING}`:
      return { kind: "APIGroup", apiVersion: "v1", ...GROUP };
    case "/api/v1":
      return resourceList("");
    case `/apis/${NETWORKING}/v1`:
      return resourceList(NETWORKING);
    case "/openapi/v3":
      return {
        paths: Object.fromEntries(
          ["api/v1", `apis/${NETWORKING}/v1`].map((name) => [
            name,
            { serverRelativeURL: `/openapi/v3/${name}` },
          ]),
        ),
      };
    case "/openapi/v3/api/v1":
      return openApi("");
    case `/openapi/v3/apis/${NETWORKING}/v1`:
      return openApi(NETWORKING);
    default:
      return undefined;
  }
}

const resourcesOf = (group: string): readonly Resource[] =>
  RESOURCES.filter((resource) => resource.group === group);

const resourceList = (group: string): JsonObject => ({
  kind: "APIResourceList",
  ...(group !== "" && { apiVersion: "v1" }),
  groupVersion: group === "" ? "v1" : `${group}/v1`,
  resources: resourcesOf(group).flatMap(entriesOf),
});

function entriesOf({ name, singularName, shortNames, kind, isNamespaced, hasStatus, categories }: Resource) {
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
    ...(hasStatus
      ? [{ name: `${name}/status`, singularName: "", namespaced: isNamespaced, kind, verbs: STATUS_VERBS }]
      : []),
  ] satisfies Json[];
}

/** Just enough for kubectl to leave validation to the server. */
const openApi = (group: string): JsonObject => ({
  openapi: "3.0.0",
  info: { title: "Kubernetes", version: VERSION.gitVersion },
  paths: Object.fromEntries(
    resourcesOf(group).map(({ name, kind, isNamespaced }) => [
      `/${group === "" ? "api" : `apis/${group}`}/v1/${isNamespaced ? "namespaces/{namespace}/" : ""}${name}/{name}`,
      {
        patch: {
          parameters: [
            { name: "fieldValidation", in: "query", schema: { type: "string", uniqueItems: true } },
          ],
          "x-kubernetes-group-version-kind": { group, version: "v1", kind },
        },
      },
    ]),
  ),
});
