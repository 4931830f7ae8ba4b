/**
 * metadata.managedFields: the manager that wrote an annotation, a label, a condition or a member of spec or status last
 * (kubernetes.io/docs/reference/using-api/server-side-apply, "Field management").
 */

import {
  isJsonObject,
  type Json,
  type JsonObject,
  type KubeMetadata,
  type KubeObject,
  type ManagedFields,
  sameJson,
} from "./kube-object.ts";

/** The writer: the fieldManager of the query, else the program's name in the User-Agent. */
export interface Writer {
  readonly manager: string;
  readonly subresource: string | undefined;
}

/** The writer of a request to the main resource or a subresource ("status"). */
export function writerOf(
  fieldManager: string | null,
  userAgent: string | undefined,
  subresource: string | undefined,
): Writer {
  const manager = fieldManager || (userAgent ?? "").split("/")[0]!.slice(0, 128) || "unknown";
  return { manager, subresource };
}

/** A field as the path of its members: ["f:metadata", "f:annotations", "f:a"]. */
type Path = readonly string[];

/** The managedFields after `writer` changed `previous` to `next`: it owns what it changed; a deleted field has no owner. */
export function manageFields(
  previous: KubeObject | undefined,
  next: KubeObject,
  { manager, subresource }: Writer,
  time: string,
): readonly ManagedFields[] {
  const written: Path[] = [];
  const deleted: Path[] = [];
  for (const [path, value] of difference(previous, next))
    (value === undefined ? deleted : written).push(path);
  const isOwn = (entry: ManagedFields) => entry.manager === manager && entry.subresource === subresource;
  const entries = (previous?.metadata.managedFields ?? []).map((entry): ManagedFields => {
    const lost = isOwn(entry) ? deleted : [...deleted, ...written];
    const fieldsV1 = lost.reduce(without, entry.fieldsV1);
    return fieldsV1 === entry.fieldsV1 ? entry : { ...entry, time, fieldsV1 };
  });
  if (written.length > 0) {
    const index = entries.findIndex(isOwn);
    const own = {
      manager,
      operation: "Update",
      apiVersion: next.apiVersion,
      time,
      fieldsType: "FieldsV1",
      fieldsV1: written.reduce(withPath, entries[index]?.fieldsV1 ?? {}),
      ...(subresource !== undefined && { subresource }),
    } as const;
    if (index < 0) entries.push(own);
    else entries[index] = own;
  }
  return entries.filter(({ fieldsV1 }) => Object.keys(fieldsV1).length > 0);
}

/** The fields that differ, each with its new value. */
function* difference(
  previous: KubeObject | undefined,
  next: KubeObject,
): Iterable<readonly [Path, Json | undefined]> {
  const before = (part: "metadata" | "spec" | "status"): JsonObject => previous?.[part] ?? {};
  const after = (part: "metadata" | "spec" | "status"): JsonObject => next[part] ?? {};
  for (const map of ["annotations", "labels"] as const) {
    const [old, now] = [before("metadata") as KubeMetadata, after("metadata") as KubeMetadata];
    for (const [key, value] of changedMembers(old[map] ?? {}, now[map] ?? {})) {
      yield [["f:metadata", `f:${map}`, `f:${key}`], value];
    }
  }
  for (const [member, value] of changedMembers(before("spec"), after("spec"))) {
    yield [["f:spec", `f:${member}`], value];
  }
  for (const [member, value] of changedMembers(before("status"), after("status"))) {
    if (member !== "conditions") yield [["f:status", `f:${member}`], value];
  }
  const byType = (list: Json | undefined): JsonObject =>
    Object.fromEntries(
      (Array.isArray(list) ? list : []).filter(isJsonObject).map((item) => [item.type, item]),
    );
  const conditions = changedMembers(byType(before("status").conditions), byType(after("status").conditions));
  for (const [type, value] of conditions) {
    yield [["f:status", "f:conditions", `k:${JSON.stringify({ type })}`], value];
  }
}

function* changedMembers(old: JsonObject, now: JsonObject): Iterable<readonly [string, Json | undefined]> {
  if (old === now) return;
  for (const [member, value] of Object.entries(now)) {
    if (!sameJson(old[member], value)) yield [member, value];
  }
  for (const member of Object.keys(old)) if (now[member] === undefined) yield [member, undefined];
}

function withPath(fields: JsonObject, path: Path): JsonObject {
  const [head, ...rest] = path as [string, ...string[]];
  const inside = fields[head];
  return { ...fields, [head]: rest.length === 0 ? {} : withPath(isJsonObject(inside) ? inside : {}, rest) };
}

/** Returns the same object if it does not contain the path. */
function without(fields: JsonObject, path: Path): JsonObject {
  const [head, ...rest] = path as [string, ...string[]];
  const inside = fields[head];
  if (!isJsonObject(inside)) return fields;
  const { [head]: _, ...others } = fields;
  if (rest.length === 0) return others;
  const left = without(inside, rest);
  if (left === inside) return fields;
  return Object.keys(left).length === 0 ? others : { ...fields, [head]: left };
}
