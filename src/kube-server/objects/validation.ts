/** Validation of objects before they are stored (k8s.io/kubernetes/pkg/apis/core/validation, the part for nodes). */

import { isIP } from "node:net";
import { type FieldProblem, invalid } from "./kube-error.ts";
import { isJsonObject, type JsonObject, type KubeObject, sameJson } from "./kube-object.ts";
import { networkPolicyProblems } from "./policy-validation.ts";
import type { Resource } from "./resources.ts";

const MAX_ANNOTATIONS_BYTES = 256 * 1024;
const LABEL = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

const NAME_RULE =
  "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character " +
  "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " +
  "with an alphanumeric character (e.g. 'example.com', regex used for validation is " +
  "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/** The first wrong JSON type in an object, with the wording of Go's decoder; undefined = none. */
export function wrongType(object: JsonObject): string | undefined {
  const { metadata, spec, status } = object;
  if (!isJsonObject(metadata))
    return "json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta";
  for (const map of ["annotations", "labels"]) {
    const value = metadata[map];
    if (value === undefined || value === null) continue;
    if (!isJsonObject(value)) return goType(value, `ObjectMeta.metadata.${map}`, "map[string]string");
    for (const item of Object.values(value)) {
      if (typeof item !== "string") return goType(item, `ObjectMeta.metadata.${map}`, "string");
    }
  }
  for (const member of ["name", "namespace", "uid", "resourceVersion"]) {
    const value = metadata[member];
    if (value !== undefined && typeof value !== "string") {
      return goType(value, `ObjectMeta.metadata.${member}`, "string");
    }
  }
  for (const [member, value] of [
    ["spec", spec],
    ["status", status],
  ] as const) {
    if (value !== undefined && !isJsonObject(value)) return goType(value, member, `v1.${member}`);
  }
  return undefined;
}

function goType(value: unknown, field: string, expected: string): string {
  const found = Array.isArray(value) ? "array" : typeof value === "boolean" ? "bool" : typeof value;
  return `json: cannot unmarshal ${found} into Go struct field ${field} of type ${expected}`;
}

/** Throws KubeError Invalid. `old` undefined = it is created. */
export function validate({ kind, name: resource }: Resource, object: KubeObject, old?: KubeObject): void {
  const problems = [
    ...metadataProblems(object),
    ...(resource === "nodes" ? nodeProblems(object, old) : []),
    ...(resource === "networkpolicies" ? networkPolicyProblems(object.spec) : []),
  ];
  if (problems.length > 0) throw invalid(kind, object.metadata.name, problems);
}

function* metadataProblems({ metadata }: KubeObject): Iterable<FieldProblem> {
  const { name, annotations = {}, labels = {} } = metadata;
  if (name.length > 253 || !SUBDOMAIN.test(name)) yield wrong("metadata.name", name, SUBDOMAIN_RULE);
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations)) {
    bytes += key.length + Buffer.byteLength(value);
    for (const text of keyProblems(key.toLowerCase())) yield wrong("metadata.annotations", key, text);
  }
  if (bytes > MAX_ANNOTATIONS_BYTES) {
    yield {
      field: "metadata.annotations",
      reason: "FieldValueTooLong",
      message: `Too long: may not be more than ${MAX_ANNOTATIONS_BYTES} bytes`,
    };
  }
  for (const [key, value] of Object.entries(labels)) {
    for (const text of keyProblems(key)) yield wrong("metadata.labels", key, text);
    if (value.length > 63) yield wrong("metadata.labels", value, "must be no more than 63 characters");
    if (value !== "" && !LABEL.test(value)) {
      yield wrong("metadata.labels", value, `a valid label must be an empty string or ${NAME_RULE.slice(5)}`);
    }
  }
}

/** Problems of a key "name" or "example.com/name". */
function* keyProblems(key: string): Iterable<string> {
  const parts = key.split("/");
  const name = parts.at(-1)!;
  if (parts.length > 2) {
    yield `a qualified name ${NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`;
    return;
  }
  if (parts.length === 2) {
    const [prefix] = parts as [string];
    if (prefix === "") yield "prefix part must be non-empty";
    else if (prefix.length > 253 || !SUBDOMAIN.test(prefix)) yield `prefix part ${SUBDOMAIN_RULE}`;
  }
  if (name === "") yield "name part must be non-empty";
  else if (name.length > 63) yield "name part must be no more than 63 characters";
  if (!LABEL.test(name)) yield `name part ${NAME_RULE}`;
}

function* nodeProblems({ spec }: KubeObject, old: KubeObject | undefined): Iterable<FieldProblem> {
  const podCidrs = spec?.podCIDRs ?? [];
  const before = old?.spec?.podCIDRs ?? [];
  for (const [index, cidr] of podCidrs.entries()) {
    if (!isCidr(cidr)) {
      yield wrong(
        `spec.podCIDRs[${index}]`,
        cidr,
        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
      );
    }
  }
  const isDual = podCidrs.length === 2 && new Set(podCidrs.map((cidr) => cidr.includes(":"))).size === 2;
  if (podCidrs.length > 1 && !isDual) {
    yield wrong("spec.podCIDRs", podCidrs, "may specify no more than one CIDR for each IP family");
  }
  if (before.length > 0 && !sameJson(before, podCidrs)) {
    yield {
      field: "spec.podCIDRs",
      reason: "FieldValueForbidden",
      message: 'Forbidden: node updates may not change podCIDR except from "" to valid',
    };
  }
}

function isCidr(text: string): boolean {
  const [address = "", length = "", ...rest] = text.split("/");
  const family = isIP(address);
  return (
    family !== 0 && rest.length === 0 && /^\d+$/.test(length) && Number(length) <= (family === 4 ? 32 : 128)
  );
}

const wrong = (field: string, value: unknown, message: string): FieldProblem => ({
  field,
  reason: "FieldValueInvalid",
  message: `Invalid value: ${JSON.stringify(value)}: ${message}`,
});
