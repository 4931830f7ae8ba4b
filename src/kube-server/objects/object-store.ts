/** All objects of one kind, their versions and their history. Objects are not validated here; writes.ts does that. */

import { randomUUID } from "node:crypto";
import { Change, type EventType, History } from "./history.ts";
import { alreadyExists, conflict, notFound, tooLargeVersion, tooOldVersion } from "./kube-error.ts";
import { type Json, type JsonObject, type KubeObject, sameJson, timestamp } from "./kube-object.ts";
import { mergePatch } from "./merge-patch.ts";
import { qualifiedName, type Resource } from "./resources.ts";

/** The number of changes to all objects of a server, as etcd's revision. */
export interface Revisions {
  current: number;
}

/** The objects of one kind, for tests: they may change any object in any way; each change is an event for the watches. */
export interface KubeObjects {
  /** Undefined = not found. `namespace` defaults to "default" for kinds that have namespaces. */
  get(name: string, namespace?: string): KubeObject | undefined;
  /** Sorted by namespace and name. */
  list(): readonly KubeObject[];
  /** Throws KubeError AlreadyExists. */
  create(object: KubeObject): KubeObject;
  /** Throws KubeError NotFound, and Conflict if `object` has an older resourceVersion. An equal object is no change. */
  update(object: KubeObject): KubeObject;
  /** Applies a merge patch (RFC 7386), also to spec and status. Throws KubeError NotFound. */
  patch(name: string, mergePatch: JsonObject, namespace?: string): KubeObject;
  /** Throws KubeError NotFound. */
  delete(name: string, namespace?: string): KubeObject;
  readonly resourceVersion: string;
}

/** The objects of one kind; `onChange` is called after each change. */
export class ObjectStore implements KubeObjects {
  readonly resource: Resource;
  readonly history: History;
  readonly #revisions: Revisions;
  readonly #onChange: () => void;
  readonly #objects = new Map<string, KubeObject>();
  #sortedKeys: readonly string[] | undefined;

  constructor(resource: Resource, revisions: Revisions, historyLength: number, onChange: () => void) {
    this.resource = resource;
    this.history = new History(historyLength);
    this.#revisions = revisions;
    this.#onChange = onChange;
  }

  get revision(): number {
    return this.#revisions.current;
  }

  get resourceVersion(): string {
    return String(this.revision);
  }

  get(name: string, namespace?: string): KubeObject | undefined {
    return this.#objects.get(this.#key(name, namespace));
  }

  list(): readonly KubeObject[] {
    this.#sortedKeys ??= [...this.#objects.keys()].sort();
    return this.#sortedKeys.map((key) => this.#objects.get(key)!);
  }

  /** The objects at a revision. Throws KubeError Expired if it was compacted, Timeout if it is in the future. */
  listAt(revision: number): readonly KubeObject[] {
    if (revision === this.revision) return this.list();
    if (revision > this.revision) throw tooLargeVersion(revision, this.revision);
    const { history } = this;
    const first = history.after(revision);
    if (first === undefined) throw tooOldVersion(revision, history.compactedRevision);
    const objects = new Map(this.#objects);
    for (let number = history.end - 1; number >= first; number--) {
      const { object, previous } = history.at(number);
      if (previous === undefined) objects.delete(this.keyOf(object));
      else objects.set(this.keyOf(previous), previous);
    }
    return [...objects.keys()].sort().map((key) => objects.get(key)!);
  }

  create(object: KubeObject): KubeObject {
    const { metadata } = object;
    const key = this.keyOf(object);
    if (this.#objects.has(key)) throw alreadyExists(qualifiedName(this.resource), metadata.name);
    return this.#store("ADDED", key, undefined, {
      ...structuredClone(object),
      metadata: {
        ...structuredClone(metadata),
        ...(this.resource.isNamespaced && { namespace: metadata.namespace ?? "default" }),
        uid: metadata.uid ?? randomUUID(),
        creationTimestamp: metadata.creationTimestamp ?? timestamp(Date.now()),
      },
    });
  }

  update(object: KubeObject): KubeObject {
    return this.replace(structuredClone(object));
  }

  /** As `update`, of a value without other references. */
  replace(object: KubeObject): KubeObject {
    const { name, namespace, resourceVersion } = object.metadata;
    const previous = this.#existing(name, namespace);
    const version = previous.metadata.resourceVersion;
    if (resourceVersion !== undefined && resourceVersion !== version) {
      throw conflict(qualifiedName(this.resource), name);
    }
    const next = resourceVersion === version ? object : withVersion(object, version!);
    return sameJson(previous, next)
      ? previous
      : this.#store("MODIFIED", this.keyOf(previous), previous, object);
  }

  patch(name: string, patch: JsonObject, namespace?: string): KubeObject {
    const previous = this.#existing(name, namespace);
    return this.replace(mergePatch(previous, structuredClone(patch)) as Json & KubeObject);
  }

  delete(name: string, namespace?: string): KubeObject {
    const previous = this.#existing(name, namespace);
    return this.#store("DELETED", this.keyOf(previous), previous, previous);
  }

  keyOf({ metadata }: KubeObject): string {
    return this.#key(metadata.name, metadata.namespace);
  }

  #key(name: string, namespace = "default"): string {
    return this.resource.isNamespaced ? `${namespace}/${name}` : name;
  }

  #existing(name: string, namespace: string | undefined): KubeObject {
    const object = this.get(name, namespace);
    if (object === undefined) throw notFound(qualifiedName(this.resource), name);
    return object;
  }

  #store(type: EventType, key: string, previous: KubeObject | undefined, object: KubeObject): KubeObject {
    const revision = ++this.#revisions.current;
    const stored = withVersion(object, String(revision));
    if (type === "DELETED") this.#objects.delete(key);
    else this.#objects.set(key, stored);
    if (type !== "MODIFIED") this.#sortedKeys = undefined;
    this.history.add(new Change(type, stored, previous, revision));
    this.#onChange();
    return stored;
  }
}

/** The object with this resourceVersion. */
export const withVersion = (object: KubeObject, resourceVersion: string): KubeObject => ({
  ...object,
  metadata: { ...object.metadata, resourceVersion },
});
