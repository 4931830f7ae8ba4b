/** Objects as tables, which `kubectl get` requests (meta.k8s.io/v1 Table; k8s.io/kubernetes/pkg/printers/internalversion). */

import { isJsonObject, type Json, type JsonObject, type KubeObject } from "../objects/kube-object.ts";
import type { Resource } from "../objects/resources.ts";

type Cell = string | number;

interface Column {
  readonly name: string;
  readonly type: "string" | "integer";
  readonly format?: "name";
  readonly description: string;
  /** Only in wide output. */
  readonly isWide?: boolean;
  readonly cell: (object: KubeObject, nowMs: number) => Cell;
}

/** How much of each object a row contains: the query's includeObject. */
export type Included = "None" | "Metadata" | "Object";

/** Whether an Accept header prefers a table to all other formats of the server. */
export const wantsTable = (accept: string): boolean => {
  const first = accept
    .split(",")
    .map((type) => type.trim())
    .find((type) => /^(?:application\/json|\*\/\*)/.test(type));
  return first !== undefined && /;\s*as=Table(?:;|$)/.test(first) && /;\s*v=v1(?:beta1)?(?:;|$)/.test(first);
};

/** The Table of some objects; `hasHead` = with the column definitions (only in the first event of a watch). */
export function tableOf(
  resource: Resource,
  objects: readonly KubeObject[],
  metadata: JsonObject,
  included: Included,
  nowMs: number,
  hasHead = true,
): JsonObject {
  const columns = COLUMNS[resource.name]!;
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata,
    columnDefinitions: hasHead
      ? columns.map(({ name, type, format = "", description, isWide }) => ({
          name,
          type,
          format,
          description,
          priority: isWide ? 1 : 0,
        }))
      : null,
    rows: objects.map((object) => ({
      cells: columns.map(({ cell }) => cell(object, nowMs)),
      ...(included === "Object" && { object }),
      ...(included === "Metadata" && {
        object: {
          kind: "PartialObjectMetadata",
          apiVersion: "meta.k8s.io/v1",
          metadata: object.metadata,
        },
      }),
    })),
  };
}

const NONE = "<none>";
const UNKNOWN = "<unknown>";

const NAME: Column = {
  name: "Name",
  type: "string",
  format: "name",
  description: "Name must be unique within a namespace.",
  cell: ({ metadata }) => metadata.name,
};
const AGE: Column = {
  name: "Age",
  type: "string",
  description: "Time since the object was created.",
  cell: ({ metadata }, nowMs) =>
    metadata.creationTimestamp === undefined
      ? UNKNOWN
      : humanDuration(nowMs - Date.parse(metadata.creationTimestamp)),
};

const info = ({ status }: KubeObject, member: string, otherwise: string): string =>
  text(isJsonObject(status?.nodeInfo) ? status.nodeInfo[member] : undefined, otherwise);
const address = ({ status }: KubeObject, expected: string): string =>
  status?.addresses?.find(({ type }) => type === expected)?.address ?? NONE;
const text = (value: Json | undefined, otherwise: string): string =>
  typeof value === "string" && value !== "" ? value : otherwise;
const list = (value: Json | undefined): readonly JsonObject[] =>
  Array.isArray(value) ? value.filter(isJsonObject) : [];

const COLUMNS: Readonly<Record<string, readonly Column[]>> = {
  nodes: [
    NAME,
    { name: "Status", type: "string", description: "The status of the node", cell: nodeStatus },
    { name: "Roles", type: "string", description: "The roles of the node", cell: nodeRoles },
    AGE,
    {
      name: "Version",
      type: "string",
      description: "Kubelet Version reported by the node.",
      cell: (node) => info(node, "kubeletVersion", ""),
    },
    wide("Internal-IP", (node) => address(node, "InternalIP")),
    wide("External-IP", (node) => address(node, "ExternalIP")),
    wide("OS-Image", (node) => info(node, "osImage", UNKNOWN)),
    wide("Kernel-Version", (node) => info(node, "kernelVersion", UNKNOWN)),
    wide("Container-Runtime", (node) => info(node, "containerRuntimeVersion", UNKNOWN)),
  ],
  pods: [
    NAME,
    {
      name: "Ready",
      type: "string",
      description: "The aggregate readiness state of this pod for accepting traffic.",
      cell: ({ spec, status }) =>
        `${list(status?.containerStatuses).filter(({ ready }) => ready === true).length}/${list(spec?.containers).length}`,
    },
    {
      name: "Status",
      type: "string",
      description: "The aggregate status of the containers in this pod.",
      cell: ({ status }) => text(status?.reason, text(status?.phase, "")),
    },
    {
      name: "Restarts",
      type: "string",
      description: "The number of times the containers in this pod have been restarted.",
      cell: ({ status }) =>
        String(list(status?.containerStatuses).reduce((sum, one) => sum + Number(one.restartCount ?? 0), 0)),
    },
    AGE,
    wide("IP", ({ status }) => text(status?.podIP, NONE)),
    wide("Node", ({ spec }) => text(spec?.nodeName, NONE)),
    wide("Nominated Node", ({ status }) => text(status?.nominatedNodeName, NONE)),
    wide("Readiness Gates", () => NONE),
  ],
  namespaces: [
    NAME,
    {
      name: "Status",
      type: "string",
      description: "The status of the namespace",
      cell: ({ status }) => text(status?.phase, ""),
    },
    AGE,
  ],
  networkpolicies: [
    NAME,
    {
      name: "Pod-Selector",
      type: "string",
      description: "The pods that the policy selects",
      cell: ({ spec }) => selectorText(spec?.podSelector),
    },
    AGE,
  ],
};

/** "app=web,tier in (a,b)" (k8s.io/apimachinery/pkg/apis/meta/v1, FormatLabelSelector). */
function selectorText(selector: Json | undefined): string {
  if (!isJsonObject(selector)) return NONE;
  const labels = Object.entries(isJsonObject(selector.matchLabels) ? selector.matchLabels : {});
  const expressions = list(selector.matchExpressions).map(({ key, operator, values }) => {
    const words = `(${[...(Array.isArray(values) ? values : [])].sort().join(",")})`;
    if (operator === "In") return `${key} in ${words}`;
    if (operator === "NotIn") return `${key} notin ${words}`;
    return operator === "DoesNotExist" ? `!${key}` : `${key}`;
  });
  const terms = [...labels.map(([key, value]) => `${key}=${value}`), ...expressions];
  return terms.length === 0 ? NONE : terms.sort().join(",");
}

function wide(name: string, cell: Column["cell"]): Column {
  return { name, type: "string", description: `${name} of the object`, isWide: true, cell };
}

function nodeStatus({ spec, status }: KubeObject): string {
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  const state = ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady";
  return spec?.unschedulable === true ? `${state},SchedulingDisabled` : state;
}

function nodeRoles({ metadata }: KubeObject): string {
  const prefix = "node-role.kubernetes.io/";
  const roles = Object.entries(metadata.labels ?? {}).flatMap(([label, value]) => {
    if (label.startsWith(prefix)) return label.length > prefix.length ? [label.slice(prefix.length)] : [];
    return label === "kubernetes.io/role" && value !== "" ? [value] : [];
  });
  return roles.length === 0 ? NONE : [...new Set(roles)].sort().join(",");
}

/** k8s.io/apimachinery/pkg/util/duration, HumanDuration. */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
  const [days, years] = [Math.floor(hours / 24), Math.floor(hours / 24 / 365)];
  const both = (big: number, unit: string, small: number, smallUnit: string) =>
    small === 0 ? `${big}${unit}` : `${big}${unit}${small}${smallUnit}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return both(minutes, "m", seconds % 60, "s");
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return both(hours, "h", minutes % 60, "m");
  if (hours < 48) return `${hours}h`;
  if (hours < 24 * 8) return both(days, "d", hours % 24, "h");
  if (hours < 24 * 365 * 2) return `${days}d`;
  if (hours < 24 * 365 * 8) return both(years, "y", days % 365, "d");
  return `${years}y`;
}
