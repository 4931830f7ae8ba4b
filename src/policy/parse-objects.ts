/** Pods and namespaces from the API's JSON (core/v1): only what policies need. Equal labels and ports are one object. */

import { formatIp, parseIp } from "../address/ip.ts";
import type { Labels, NamedPort, PodPhase, PolicyNamespace, PolicyPod, PolicyProtocol } from "./model.ts";
import { isObject, type JsonObject } from "./parse-selector.ts";

/** The pods of one workload share their labels; when this many have been seen the table begins anew. */
const MAX_SHARED = 20_000;

/** Makes pods and namespaces from the API's JSON; undefined = no name. Never throws. */
export interface ObjectParser {
  pod(json: unknown): PolicyPod | undefined;
  namespace(json: unknown): PolicyNamespace | undefined;
}

/** @param nodeName the node whose pods are local */
export function createObjectParser(nodeName: string): ObjectParser {
  const shared = new Map<string, unknown>();
  const share = <T>(key: string, value: T): T => {
    const known = shared.get(key);
    if (known !== undefined) return known as T;
    if (shared.size >= MAX_SHARED) shared.clear();
    shared.set(key, value);
    return value;
  };
  const labelsOf = (value: unknown): Labels => {
    const entries = Object.entries(isObject(value) ? value : {})
      .filter((entry): entry is [string, string] => typeof entry[1] === "string")
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return share(JSON.stringify(entries), new Map(entries));
  };
  return {
    pod(json) {
      if (!isObject(json)) return undefined;
      const metadata = memberOf(json, "metadata");
      const spec = memberOf(json, "spec");
      const status = memberOf(json, "status");
      const { namespace, name, uid, creationTimestamp } = metadata;
      if (typeof namespace !== "string" || typeof name !== "string" || !namespace || !name) return undefined;
      const created = typeof creationTimestamp === "string" ? Date.parse(creationTimestamp) : Number.NaN;
      const ports = portsOf(spec);
      return {
        namespace: share(namespace, namespace),
        name,
        uid: typeof uid === "string" ? uid : "",
        labels: labelsOf(metadata.labels),
        addresses: addressesOf(status),
        isLocal: spec.nodeName === nodeName,
        isHostNetwork: spec.hostNetwork === true,
        phase: phaseOf(metadata, status),
        createdAt: Number.isNaN(created) ? 0 : created / 1000,
        ports: share(`ports ${JSON.stringify(ports)}`, ports),
      };
    },
    namespace(json) {
      const metadata = isObject(json) ? memberOf(json, "metadata") : {};
      const { name } = metadata;
      if (typeof name !== "string" || name === "") return undefined;
      return { name, labels: labelsOf(metadata.labels) };
    },
  };
}

const memberOf = (value: JsonObject, member: string): JsonObject => {
  const found = value[member];
  return isObject(found) ? found : {};
};

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

function phaseOf(metadata: JsonObject, status: JsonObject): PodPhase {
  if (status.phase === "Succeeded" || status.phase === "Failed") return "finished";
  return metadata.deletionTimestamp === undefined ? "active" : "terminating";
}

/** `podIPs` has all addresses; `podIP` alone is what old API servers have. */
function addressesOf(status: JsonObject): readonly string[] {
  const texts = [
    ...listOf(status.podIPs).map((each) => (isObject(each) ? each.ip : undefined)),
    status.podIP,
  ];
  const addresses = new Set<string>();
  for (const text of texts) {
    const ip = typeof text === "string" ? parseIp(text) : undefined;
    if (ip !== undefined) addresses.add(formatIp(ip));
  }
  return [...addresses];
}

/** Of containers, and of init containers, which with `restartPolicy: Always` run as long as the pod. */
function portsOf(spec: JsonObject): readonly NamedPort[] {
  const ports: NamedPort[] = [];
  for (const container of [...listOf(spec.containers), ...listOf(spec.initContainers)]) {
    for (const each of isObject(container) ? listOf(container.ports) : []) {
      if (!isObject(each)) continue;
      const { name, containerPort } = each;
      const protocol = (each.protocol ?? "TCP") as PolicyProtocol;
      if (typeof name !== "string" || typeof containerPort !== "number") continue;
      ports.push({ name, protocol, port: containerPort });
    }
  }
  return ports;
}
