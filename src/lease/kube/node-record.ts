/**
 * What flannel keeps of a node object. A node has some 8 KB of JSON and there may be thousands: everything but these few
 * strings is skipped. A malformed member counts as absent.
 */

import { isObject, type Members } from "../../config/json-members.ts";
import { ANNOTATIONS, type Annotation, type AnnotationNames } from "./annotations.ts";
import type { JsonReader } from "./json-reader.ts";
import type { ObjectReader } from "./watch-events.ts";

/** A node, reduced to what a lease is made of. */
export interface NodeRecord {
  readonly name: string;
  /** `spec.podCIDRs`, or `spec.podCIDR` where there is only that. */
  readonly podCidrs: readonly string[];
  /** Those of flannel. */
  readonly annotations: Readonly<Partial<Record<Annotation, string>>>;
  /** `metadata.creationTimestamp` in ms since the epoch; undefined = the server gives none. */
  readonly createdAtMs?: number | undefined;
}

/** The own node, with what only its host needs. */
export interface OwnNodeRecord extends NodeRecord {
  /** The condition NetworkUnavailable; undefined = there is none. */
  readonly networkUnavailable: { readonly status: string; readonly reason: string } | undefined;
  /** Who wrote which fields (metadata.managedFields), if known. */
  readonly writers: readonly { readonly name: string; readonly fields: string }[];
}

/** A node as it is kept in memory: two of one name are equal if their texts are. */
export interface PackedNode {
  readonly name: string;
  readonly text: string;
}

/**
 * A reader of what leases need. Throws JsonFault, as its reader does. It runs for every heartbeat of every node, and
 * allocates only two objects, at the end.
 */
export function packedNodeReader(names: AnnotationNames): ObjectReader<PackedNode> {
  const indexOf = new Map(ANNOTATIONS.map((annotation, index) => [names[annotation], index]));
  const podCidrs: string[] = [];
  const annotations = new Array<string | undefined>(ANNOTATIONS.length).fill(undefined);
  let json: JsonReader;
  let name: string | undefined;
  let version: string | undefined;
  let podCidr: string | undefined;
  let createdAt: string | undefined;
  const readAnnotation = (fullName: string) => {
    const index = indexOf.get(fullName);
    if (index === undefined) json.skip();
    else annotations[index] = json.string();
  };
  const readMetadata = (member: string) => {
    if (member === "name") name = json.string();
    else if (member === "resourceVersion") version = json.string();
    else if (member === "creationTimestamp") createdAt = json.string();
    else if (member === "annotations") json.object(readAnnotation);
    else json.skip();
  };
  const readPodCidr = () => {
    const cidr = json.string();
    if (cidr !== undefined) podCidrs.push(cidr);
  };
  const readSpec = (member: string) => {
    if (member === "podCIDR") podCidr = json.string();
    else if (member === "podCIDRs") json.array(readPodCidr);
    else json.skip();
  };
  const readNode = (member: string) => {
    if (member === "metadata") json.object(readMetadata);
    else if (member === "spec") json.object(readSpec);
    else json.skip();
  };
  return (reader) => {
    json = reader;
    name = undefined;
    version = undefined;
    podCidr = undefined;
    createdAt = undefined;
    podCidrs.length = 0;
    annotations.fill(undefined);
    reader.object(readNode);
    if (podCidrs.length === 0 && podCidr) podCidrs.push(podCidr);
    return {
      version: version || undefined,
      object: name ? { name, text: textOf(podCidrs, annotations, readTime(createdAt)) } : undefined,
    };
  };
}

/** The record of a packed node. */
export function unpackNode({ name, text }: PackedNode): NodeRecord {
  const [podCidrs, values, createdAtMs] = JSON.parse(text) as [string[], (string | null)[], number?];
  const annotations: Partial<Record<Annotation, string>> = {};
  for (const [index, annotation] of ANNOTATIONS.entries()) {
    const value = values[index] ?? undefined;
    if (value !== undefined) annotations[annotation] = value;
  }
  return createdAtMs === undefined
    ? { name, podCidrs, annotations }
    : { name, podCidrs, annotations, createdAtMs };
}

/** The record as one text: thousands of nodes are kept, and one string costs less than ten. */
export const packNode = ({ name, podCidrs, annotations, createdAtMs }: NodeRecord): PackedNode => ({
  name,
  text: textOf(
    podCidrs,
    ANNOTATIONS.map((annotation) => annotations[annotation]),
    createdAtMs,
  ),
});

const textOf = (
  podCidrs: readonly string[],
  annotations: readonly (string | undefined)[],
  createdAtMs: number | undefined,
): string =>
  JSON.stringify(createdAtMs === undefined ? [podCidrs, annotations] : [podCidrs, annotations, createdAtMs]);

/** A time of Kubernetes (RFC 3339) in ms since the epoch; undefined = none, or malformed. */
function readTime(text: unknown): number | undefined {
  const ms = typeof text === "string" ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

/** A reader of what is needed of the own node. Throws JsonFault, as its reader does. */
export const ownNodeRecordReader =
  (names: AnnotationNames): ObjectReader<OwnNodeRecord> =>
  (reader) => {
    const object = reader.value();
    const { resourceVersion: version } = memberOf(object, "metadata");
    return {
      version: typeof version === "string" && version !== "" ? version : undefined,
      object: readOwnNodeRecord(object, names),
    };
  };

/** Undefined = not a node. */
export function readOwnNodeRecord(object: unknown, names: AnnotationNames): OwnNodeRecord | undefined {
  const metadata = memberOf(object, "metadata");
  const { name } = metadata;
  if (typeof name !== "string" || name === "") return undefined;
  const given = memberOf(metadata, "annotations");
  const annotations: Partial<Record<Annotation, string>> = {};
  for (const annotation of ANNOTATIONS) {
    const value = given[names[annotation]];
    if (typeof value === "string") annotations[annotation] = value;
  }
  const { podCIDR, podCIDRs } = memberOf(object, "spec");
  const listed = Array.isArray(podCIDRs) ? podCIDRs.filter((cidr) => typeof cidr === "string") : [];
  const single = typeof podCIDR === "string" && podCIDR !== "" ? [podCIDR] : [];
  const condition = listIn(memberOf(object, "status"), "conditions").find(
    ({ type }) => type === "NetworkUnavailable",
  );
  const writers = listIn(metadata, "managedFields").flatMap(({ manager, fieldsV1 }) =>
    typeof manager === "string" ? [{ name: manager, fields: JSON.stringify(fieldsV1 ?? {}) }] : [],
  );
  return {
    name,
    podCidrs: listed.length > 0 ? listed : single,
    annotations,
    createdAtMs: readTime(metadata.creationTimestamp),
    networkUnavailable: condition && {
      status: String(condition.status ?? ""),
      reason: String(condition.reason ?? ""),
    },
    writers,
  };
}

/** The member `name` if it is an object, else an empty one. */
function memberOf(object: unknown, name: string): Members {
  const value = isObject(object) ? object[name] : undefined;
  return isObject(value) ? value : {};
}

function listIn(object: Members, name: string): Members[] {
  const value = object[name];
  return Array.isArray(value) ? value.filter(isObject) : [];
}
