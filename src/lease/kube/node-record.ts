/**
 * What flannel keeps of a node object. A node has some 8 KB of JSON and there may be thousands: everything but these few
 * strings is let go as soon as the object has been read. Junk is read as absence; what it means is said elsewhere.
 */

import { isObject, type Members } from "../../config/json-members.ts";
import type { Annotation, AnnotationNames } from "./annotations.ts";

export interface NodeRecord {
  readonly name: string;
  /** `spec.podCIDRs`, or `spec.podCIDR` where there is only that. */
  readonly podCidrs: readonly string[];
  /** Those of flannel. */
  readonly annotations: Readonly<Partial<Record<Annotation, string>>>;
}

/** The own node, of which more is looked at. */
export interface OwnNodeRecord extends NodeRecord {
  /** The condition NetworkUnavailable; undefined = there is none. */
  readonly networkUnavailable: { readonly status: string; readonly reason: string } | undefined;
  /** Who wrote which fields (metadata.managedFields), as far as that is known. */
  readonly writers: readonly { readonly name: string; readonly fields: string }[];
}

/** Undefined = this is no node. */
export function readNodeRecord(object: unknown, names: AnnotationNames): NodeRecord | undefined {
  const metadata = memberOf(object, "metadata");
  const name = metadata.name;
  if (typeof name !== "string" || name === "") return undefined;
  const given = memberOf(metadata, "annotations");
  const annotations: Partial<Record<Annotation, string>> = {};
  for (const [annotation, fullName] of Object.entries(names) as [Annotation, string][]) {
    const value = given[fullName];
    if (typeof value === "string") annotations[annotation] = value;
  }
  const { podCIDR, podCIDRs } = memberOf(object, "spec");
  const listed = Array.isArray(podCIDRs) ? podCIDRs.filter((cidr) => typeof cidr === "string") : [];
  const single = typeof podCIDR === "string" && podCIDR !== "" ? [podCIDR] : [];
  return { name, podCidrs: listed.length > 0 ? listed : single, annotations };
}

/** Undefined = this is no node. */
export function readOwnNodeRecord(object: unknown, names: AnnotationNames): OwnNodeRecord | undefined {
  const record = readNodeRecord(object, names);
  if (record === undefined) return undefined;
  const condition = listIn(memberOf(object, "status"), "conditions").find(
    ({ type }) => type === "NetworkUnavailable",
  );
  const writers = listIn(memberOf(object, "metadata"), "managedFields").flatMap(({ manager, fieldsV1 }) =>
    typeof manager === "string" ? [{ name: manager, fields: JSON.stringify(fieldsV1 ?? {}) }] : [],
  );
  return {
    ...record,
    networkUnavailable: condition && {
      status: String(condition.status ?? ""),
      reason: String(condition.reason ?? ""),
    },
    writers,
  };
}

/** A text that is the same for two records of a node if and only if they say the same. */
export const fingerprintOf = ({ podCidrs, annotations }: NodeRecord): string =>
  JSON.stringify([podCidrs, annotations]);

/** The member `name` if it is an object, else an empty one. */
function memberOf(object: unknown, name: string): Members {
  const value = isObject(object) ? object[name] : undefined;
  return isObject(value) ? value : {};
}

function listIn(object: Members, name: string): Members[] {
  const value = object[name];
  return Array.isArray(value) ? value.filter(isObject) : [];
}
