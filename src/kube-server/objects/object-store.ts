/** All objects of one kind, their versions and their history. What is written here is not judged: see writes.ts. */

import { randomUUID } from "node:crypto";
import { Change, type EventType, History } from "./history.ts";
import { alreadyExists, conflict, notFound, tooLargeVersion, tooOldVersion } from "./kube-error.ts";
import { type Json, type JsonObject, type KubeObject, sameJson, timestamp } from "./kube-object.ts";
import { mergePatch } from "./merge-patch.ts";
import type { Resource } from "./resources.ts";

/** Counts the changes of all objects of a server, as etcd's revision does. */
export interface Revisions {
  current: number;
}

/** The objects of one kind for tests, which may change all of them in any way; every change is an event for the watches. */
export interface KubeObjects {
  /** Undefined = there is none. Namespace: "default" if the kind has namespaces and none is given. */
  get(name: string, namespace?: string): KubeObject | undefined;
  /** By namespace and name. */
  list(): readonly KubeObject[];
  /** Throws KubeError AlreadyExists. */
  create(object: KubeObject): KubeObject;
  /** Throws KubeError NotFound, and Conflict if `object` has an older resourceVersion. Nothing happens if nothing differs. */
  update(object: KubeObject): KubeObject;
  /** RFC 7386, on spec and status as well. Throws KubeError NotFound. */
  patch(name: string, mergePatch: JsonObject, namespace?: string): KubeObject;
  /** Throws KubeError NotFound. */
  delete(name: string, namespace?: string): KubeObject;
  readonly resourceVersion: string;
}

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

  /** The objects as they were. Throws KubeError Expired if that is forgotten, Timeout if it has not been yet. */
  listAt(revision: number): readonly KubeObject[] {
    if (revision === this.revision) return this.list();
    if (revision > this.revision) throw tooLargeVersion(revision, this.revision);
    const { history } = this;
    const first = history.after(revision);
    if (first === undefined) throw tooOldVersion(revision, history.forgottenRevision);
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
    if (this.#objects.has(key)) throw alreadyExists(this.resource.name, metadata.name);
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
      throw conflict(this.resource.name, name);
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
    if (object === undefined) throw notFound(this.resource.name, name);
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
