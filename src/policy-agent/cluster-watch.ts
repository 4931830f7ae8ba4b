/**
 * What policies need to know of the cluster, followed without a gap: all pods, namespaces and policies, and the podCIDRs of
 * this node. While the API server is unavailable, what was known last stays.
 */

import type { AnnotationNames } from "../lease/kube/annotations.ts";
import type { ApiClient } from "../lease/kube/api-client.ts";
import type { KubeTimings } from "../lease/kube/kube-options.ts";
import { packedNodeReader, unpackNode } from "../lease/kube/node-record.ts";
import { type ObjectSource, type ObjectUpdate, watchObjects } from "../lease/kube/object-watch.ts";
import type { OutagePorts } from "../lease/outage.ts";
import type { NetworkPolicy, PolicyInput, PolicyNamespace } from "../policy/model.ts";
import type { ObjectParser } from "../policy/parse-objects.ts";
import { namespaceReader, networkPolicyReader, podReader } from "./object-readers.ts";
import { keyOf, type PodTable } from "./pod-table.ts";

/** What the watches need. */
export interface ClusterWatchParts {
  readonly client: ApiClient;
  readonly timings: KubeTimings;
  readonly nodeName: string;
  readonly annotations: AnnotationNames;
  readonly parser: ObjectParser;
  readonly pods: PodTable;
  readonly ports: OutagePorts;
  /** Something has changed that was known. */
  readonly onChange: () => void;
}

/** Objects with one name in the API are one entry; a changed map is another map. */
class ObjectMap<Kept> {
  readonly #keyOf: (object: Kept) => string;
  #objects = new Map<string, Kept>();
  #shown: ReadonlyMap<string, Kept> | undefined;

  constructor(key: (object: Kept) => string) {
    this.#keyOf = key;
  }

  get objects(): ReadonlyMap<string, Kept> {
    this.#shown ??= new Map(this.#objects);
    return this.#shown;
  }

  take(update: ObjectUpdate<Kept>): void {
    this.#shown = undefined;
    if (update.type === "snapshot")
      this.#objects = new Map(update.objects.map((object) => [this.#keyOf(object), object]));
    else if (update.type === "put") this.#objects.set(this.#keyOf(update.object), update.object);
    else this.#objects.delete(this.#keyOf(update.object));
  }
}

/** The watches, from `run` on. */
export class ClusterWatch {
  readonly #parts: ClusterWatchParts;
  readonly #namespaces = new ObjectMap<PolicyNamespace>(({ name }) => name);
  readonly #policies = new ObjectMap<NetworkPolicy>(keyOf);
  readonly #missing = new Set(["pods", "namespaces", "networkpolicies", "nodes"]);
  #podCidrs: readonly string[] = [];

  constructor(parts: ClusterWatchParts) {
    this.#parts = parts;
  }

  /** What has not been received yet; empty = everything is known. */
  get missing(): ReadonlySet<string> {
    return this.#missing;
  }

  /** As known now; only complete when nothing is missing. */
  get input(): PolicyInput {
    return {
      pods: this.#parts.pods.pods,
      namespaces: this.#namespaces.objects,
      policies: this.#policies.objects,
    };
  }

  /** This node's subnets; empty = it has none yet. */
  get podCidrs(): readonly string[] {
    return this.#podCidrs;
  }

  /** Until aborted; never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, timings, nodeName, annotations, parser, pods } = this.#parts;
    const source = { client, timings };
    await Promise.all([
      this.#follow(
        // A pod that has ended has no address any more, and there may be thousands.
        {
          ...source,
          ...{ resource: "pods", what: "the pods", read: podReader(parser) },
          fieldSelector: "status.phase!=Succeeded,status.phase!=Failed",
        },
        (update) => {
          if (update.type === "snapshot") pods.snapshot(update.objects);
          else if (update.type === "put") pods.put(update.object);
          else pods.remove(keyOf(update.object));
        },
        signal,
      ),
      this.#follow(
        { ...source, resource: "namespaces", what: "the namespaces", read: namespaceReader(parser) },
        (update) => this.#namespaces.take(update),
        signal,
      ),
      this.#follow(
        { ...source, resource: "networkpolicies", what: "the network policies", read: networkPolicyReader() },
        (update) => this.#policies.take(update),
        signal,
      ),
      this.#follow(
        {
          ...source,
          ...{ resource: "nodes", fieldSelector: `metadata.name=${nodeName}`, what: "this host's node" },
          read: packedNodeReader(annotations),
        },
        (update) => {
          // A deleted node keeps its pods until they are gone.
          const node =
            update.type === "snapshot"
              ? update.objects[0]
              : update.type === "put"
                ? update.object
                : undefined;
          const podCidrs = node === undefined ? this.#podCidrs : unpackNode(node).podCidrs;
          if (podCidrs.join() !== this.#podCidrs.join()) this.#podCidrs = podCidrs;
        },
        signal,
      ),
    ]);
  }

  async #follow<Kept>(
    source: ObjectSource<Kept>,
    take: (update: ObjectUpdate<Kept>) => void,
    signal: AbortSignal,
  ): Promise<void> {
    for await (const update of watchObjects(source, this.#parts.ports, signal)) {
      take(update);
      if (update.type === "snapshot") this.#missing.delete(source.resource);
      if (this.#missing.size === 0) this.#parts.onChange();
    }
  }
}
