/**
 * Create, update, patch and delete requests of clients: the fields that the API server's strategies allow to change
 * (k8s.io/kubernetes/pkg/registry/core/node and pod), validation, and the writer in managedFields.
 */

import { randomBytes } from "node:crypto";
import { withDefaults } from "../objects/defaults.ts";
import { badRequest, conflict, invalid, notFound } from "../objects/kube-error.ts";
import {
  isJsonObject,
  type Json,
  type JsonObject,
  type KubeObject,
  sameJson,
  timestamp,
} from "../objects/kube-object.ts";
import { manageFields, type Writer } from "../objects/managed-fields.ts";
import { mergePatch } from "../objects/merge-patch.ts";
import type { ObjectStore } from "../objects/object-store.ts";
import { apiVersionOf, qualifiedName, type Resource } from "../objects/resources.ts";
import { strategicMergePatch } from "../objects/strategic-merge-patch.ts";
import { validate, wrongType } from "../objects/validation.ts";

const MERGE_PATCH = "application/merge-patch+json";
const STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json";

/** The media types of patches. */
export const PATCH_TYPES: readonly string[] = [MERGE_PATCH, STRATEGIC_MERGE_PATCH];

/** A request that changes an object. */
export interface WriteRequest {
  readonly store: ObjectStore;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly writer: Writer;
  readonly body: Json;
  /** Returns the result without storing it. */
  readonly isDryRun: boolean;
}

/** Creates an object. Throws KubeError BadRequest, Invalid, AlreadyExists. */
export function create({ store, namespace, writer, body, isDryRun }: WriteRequest): KubeObject {
  const { resource } = store;
  const given = decode(resource, body);
  const { generateName } = given.metadata;
  const name =
    given.metadata.name ??
    (typeof generateName === "string" ? generateName + randomBytes(3).toString("hex").slice(1) : undefined);
  if (name === undefined) {
    throw invalid(resource.kind, "", [
      {
        field: "metadata.name",
        reason: "FieldValueRequired",
        message: "Required value: name or generateName is required",
      },
    ]);
  }
  if (given.metadata.resourceVersion !== undefined) {
    throw badRequest("resourceVersion should not be set on objects to be created");
  }
  checkNamespace(given, namespace);
  const { uid: _, creationTimestamp: __, managedFields: ___, ...metadata } = given.metadata;
  // A node may be created with a status; a pod begins without one.
  const fresh: KubeObject = {
    ...given,
    metadata: { ...metadata, name, ...(namespace !== undefined && { namespace }) },
    ...INITIAL[resource.kind],
  };
  const object = withManager(undefined, withSameCidrs(withDefaults(fresh), undefined), writer);
  validate(resource, object);
  return isDryRun ? object : store.create(object);
}

/** What the server itself sets in new objects. */
const INITIAL: Readonly<Record<string, Pick<KubeObject, "status">>> = {
  Pod: { status: { phase: "Pending" } },
  Namespace: { status: { phase: "Active" } },
};

/** Replaces an object. Throws KubeError BadRequest, NotFound, Conflict, Invalid. */
export function update(request: WriteRequest): KubeObject {
  const { store, namespace, name, body } = request;
  const old = existing(request);
  const given = decode(store.resource, body);
  if (given.metadata.name !== name) {
    throw badRequest(
      `the name of the object (${given.metadata.name ?? ""}) does not match the name on the URL (${name})`,
    );
  }
  checkNamespace(given, namespace);
  return replace(request, old, given);
}

/** Patches an object. Throws KubeError BadRequest, NotFound, Conflict, Unprocessable, Invalid. */
export function patch(request: WriteRequest, contentType: string): KubeObject {
  const { store, body } = request;
  const { kind, mergedLists } = store.resource;
  if (!isJsonObject(body)) throw badRequest("the patch is not a JSON object");
  const old = existing(request);
  const patched =
    contentType === MERGE_PATCH
      ? (mergePatch(old, body) as JsonObject)
      : strategicMergePatch(old, body, mergedLists);
  const problem = wrongType(patched);
  if (problem !== undefined || patched.kind !== kind) {
    const message = problem ?? `the kind may not be changed to ${JSON.stringify(patched.kind)}`;
    throw invalid("", "", [
      {
        field: "patch",
        reason: "FieldValueInvalid",
        message: `Invalid value: ${JSON.stringify(body)}: ${message}`,
      },
    ]);
  }
  const { metadata } = patched as KubeObject;
  if (metadata.name !== old.metadata.name || metadata.namespace !== old.metadata.namespace) {
    throw badRequest(
      `the name of the object (${metadata.name}) does not match the name on the URL (${old.metadata.name})`,
    );
  }
  return replace(request, old, patched as KubeObject);
}

/** Returns the deleted object. A pod is deleted at once, as if its kubelet had stopped it. */
export function remove(request: WriteRequest): KubeObject {
  const { store, namespace, name, body, isDryRun } = request;
  const old = existing(request);
  const { preconditions } = isJsonObject(body) ? body : {};
  if (isJsonObject(preconditions)) {
    for (const field of ["uid", "resourceVersion"] as const) {
      const expected = preconditions[field];
      if (expected !== undefined && expected !== null && expected !== old.metadata[field]) {
        const label = field === "uid" ? "UID" : "ResourceVersion";
        throw conflict(
          qualifiedName(store.resource),
          old.metadata.name,
          `Precondition failed: ${label} in precondition: ${expected}, ${label} in object meta: ${old.metadata[field]}`,
        );
      }
    }
  }
  if (isDryRun) return old;
  if (finalizersOf(old).length === 0) return store.delete(name!, namespace);
  const deletionTimestamp = old.metadata.deletionTimestamp ?? timestamp(Date.now());
  return store.replace({ ...old, metadata: { ...old.metadata, deletionTimestamp } });
}

function existing({ store, name, namespace }: WriteRequest): KubeObject {
  const object = store.get(name!, namespace);
  if (object === undefined) throw notFound(qualifiedName(store.resource), name!);
  return object;
}

/** Stores the part of `given` that this endpoint may change. */
function replace({ store, writer, isDryRun }: WriteRequest, old: KubeObject, given: KubeObject): KubeObject {
  const { resource } = store;
  const { name, uid, resourceVersion, creationTimestamp, deletionTimestamp, managedFields } = old.metadata;
  const requested = given.metadata;
  if (requested.uid !== undefined && requested.uid !== uid) {
    throw conflict(
      qualifiedName(resource),
      name,
      `Precondition failed: UID in precondition: ${requested.uid}, UID in object meta: ${uid}`,
    );
  }
  if (requested.resourceVersion !== undefined && requested.resourceVersion !== resourceVersion) {
    throw conflict(qualifiedName(resource), name);
  }
  const { spec, status } =
    writer.subresource === "status" ? { ...given, spec: old.spec } : { ...given, status: old.status };
  const next = withSameCidrs(
    withDefaults({
      apiVersion: old.apiVersion,
      kind: old.kind,
      metadata: withoutEmptyMaps({
        ...requested,
        ...(uid !== undefined && { uid }),
        ...(creationTimestamp !== undefined && { creationTimestamp }),
        ...(resourceVersion !== undefined && { resourceVersion }),
        ...(deletionTimestamp !== undefined && { deletionTimestamp }),
        ...(managedFields !== undefined && { managedFields }),
      }),
      ...(spec !== undefined && { spec }),
      ...(status !== undefined && { status }),
    }),
    old,
  );
  validate(resource, next, old);
  if (sameJson(old, next)) return old;
  const managed = withManager(old, next, writer);
  if (isDryRun) return managed;
  const stored = store.replace(managed);
  // It was kept only for its last finalizer.
  const isFinal = stored.metadata.deletionTimestamp !== undefined && finalizersOf(stored).length === 0;
  return isFinal ? store.delete(name, stored.metadata.namespace) : stored;
}

function finalizersOf({ metadata }: KubeObject): readonly Json[] {
  return Array.isArray(metadata.finalizers) ? metadata.finalizers : [];
}

function withManager(old: KubeObject | undefined, next: KubeObject, writer: Writer): KubeObject {
  const managedFields = manageFields(old, next, writer, timestamp(Date.now()));
  return { ...next, metadata: { ...next.metadata, managedFields } };
}

/** spec.podCIDR is an alias of spec.podCIDRs[0]: setting one sets both. */
function withSameCidrs(object: KubeObject, old: KubeObject | undefined): KubeObject {
  const { spec } = object;
  if (object.kind !== "Node" || spec === undefined || spec === old?.spec) return object;
  const { podCIDR: single, podCIDRs: all = [], ...others } = spec;
  if (single && all.length > 0 && single !== all[0]) {
    throw badRequest(`conversion Error: v1.PodCIDR(${single}) != v1.CIDRs[0](${all[0]})`);
  }
  const podCIDRs = all.length > 0 ? all : single ? [single] : [];
  return { ...object, spec: { ...others, ...(podCIDRs[0] && { podCIDR: podCIDRs[0], podCIDRs }) } };
}

/** Maps without members are left out, as Go's `omitempty` does. */
function withoutEmptyMaps(metadata: KubeObject["metadata"]): KubeObject["metadata"] {
  const { labels, annotations, ...others } = metadata;
  return {
    ...(others as KubeObject["metadata"]),
    ...(labels && Object.keys(labels).length > 0 && { labels }),
    ...(annotations && Object.keys(annotations).length > 0 && { annotations }),
  };
}

function decode(resource: Resource, body: Json): KubeObject {
  const { kind } = resource;
  if (!isJsonObject(body)) throw badRequest(`the object provided is unrecognized (must be of type ${kind})`);
  if (body.kind !== kind || body.apiVersion !== apiVersionOf(resource)) {
    throw badRequest(
      `${kind} in version "v1" cannot be handled as a ${kind}: the object is a ${body.kind} of ${body.apiVersion}`,
    );
  }
  const problem = wrongType({ metadata: {}, ...body });
  if (problem !== undefined)
    throw badRequest(`${kind} in version "v1" cannot be handled as a ${kind}: ${problem}`);
  const { apiVersion, metadata = {}, spec, status } = body;
  return { apiVersion, kind, metadata, ...(spec && { spec }), ...(status && { status }) } as Json &
    KubeObject;
}

function checkNamespace({ metadata }: KubeObject, namespace: string | undefined): void {
  if (metadata.namespace !== undefined && metadata.namespace !== namespace) {
    throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`);
  }
}
