/** The stores of all kinds, which share one revision, and what binds kinds together: objects live in namespaces. */

import { notFound } from "./kube-error.ts";
import { makeNamespace } from "./node-object.ts";
import { ObjectStore, type Revisions } from "./object-store.ts";
import { NAMESPACES, NETWORK_POLICIES, NODES, PODS, type Resource } from "./resources.ts";

/** Those that kube-apiserver makes. */
const FIRST_NAMESPACES = ["default", "kube-node-lease", "kube-public", "kube-system"];

/** Everything that a server has. */
export class ObjectStores {
  readonly nodes: ObjectStore;
  readonly pods: ObjectStore;
  readonly namespaces: ObjectStore;
  readonly networkPolicies: ObjectStore;

  constructor(historyLength: number, onChange: () => void) {
    const revisions: Revisions = { current: 1 };
    const storeOf = (resource: Resource) => new ObjectStore(resource, revisions, historyLength, onChange);
    this.nodes = storeOf(NODES);
    this.pods = storeOf(PODS);
    this.namespaces = storeOf(NAMESPACES);
    this.networkPolicies = storeOf(NETWORK_POLICIES);
    for (const name of FIRST_NAMESPACES) this.namespaces.create(makeNamespace(name));
  }

  get all(): readonly ObjectStore[] {
    return [this.nodes, this.pods, this.namespaces, this.networkPolicies];
  }

  of(resource: Resource): ObjectStore {
    return this.all.find((store) => store.resource === resource)!;
  }

  /** Throws KubeError NotFound. */
  checkNamespace(name: string): void {
    if (this.namespaces.get(name) === undefined) throw notFound("namespaces", name);
  }

  /** Deletes what a deleted namespace contains, as the namespace controller does. */
  emptyNamespace(namespace: string): void {
    if (this.namespaces.get(namespace) !== undefined) return; // a dry run, or finalizers are left
    for (const store of [this.pods, this.networkPolicies]) {
      for (const { metadata } of store.list()) {
        if (metadata.namespace === namespace) store.delete(metadata.name, namespace);
      }
    }
  }
}
