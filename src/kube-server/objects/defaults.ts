/** What the API server fills in before it validates an object (k8s.io/kubernetes/pkg/apis/networking/v1/defaults.go; the label of namespaces). */

import { isJsonObject, type Json, type JsonObject, type KubeObject } from "./kube-object.ts";

/** The object with its defaults. */
export function withDefaults(object: KubeObject): KubeObject {
  if (object.kind === "Namespace") return withOwnLabel(object);
  return object.kind === "NetworkPolicy" && object.spec !== undefined
    ? { ...object, spec: policySpec(object.spec) }
    : object;
}

/** A namespace is selected by its name, too (kubernetes.io/docs/concepts/overview/working-with-objects/namespaces). */
function withOwnLabel(object: KubeObject): KubeObject {
  const { metadata } = object;
  const labels = { ...metadata.labels, "kubernetes.io/metadata.name": metadata.name };
  return { ...object, metadata: { ...metadata, labels } };
}

function policySpec(spec: JsonObject): JsonObject {
  const { ingress, egress, policyTypes } = spec;
  const hasTypes = Array.isArray(policyTypes) && policyTypes.length > 0;
  const hasEgress = Array.isArray(egress) && egress.length > 0;
  return {
    podSelector: {},
    ...spec,
    ...(Array.isArray(ingress) && { ingress: ingress.map(withProtocols) }),
    ...(Array.isArray(egress) && { egress: egress.map(withProtocols) }),
    policyTypes: hasTypes ? policyTypes : hasEgress ? ["Ingress", "Egress"] : ["Ingress"],
  };
}

function withProtocols(rule: Json): Json {
  if (!isJsonObject(rule) || !Array.isArray(rule.ports)) return rule;
  const ports = rule.ports.map((port: Json) => (isJsonObject(port) ? { protocol: "TCP", ...port } : port));
  return { ...rule, ports };
}
