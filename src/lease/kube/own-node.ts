/** The node object of this host: read, patched where flanneld may (nodes/status), and watched on its own from the first wait for a change. */

import { ConfigError, StoreError } from "../../base/error.ts";
import { isObject, quote } from "../../config/json-members.ts";
import type { OutagePorts } from "../outage.ts";
import type { AnnotationNames } from "./annotations.ts";
import type { ApiClient } from "./api-client.ts";
import type { KubeStoreOptions, KubeTimings } from "./kube-options.ts";
import { type OwnNodeRecord, ownNodeRecordReader, readOwnNodeRecord } from "./node-record.ts";
import { watchObjects } from "./object-watch.ts";

/** A DNS subdomain (RFC 1123), as names of nodes are. */
const NODE_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Throws ConfigError if the node of this host is unknown. */
export function checkIdentity({ nodeName, podName, podNamespace }: OwnNodeParts["options"]): void {
  if (nodeName !== undefined) {
    if (!NODE_NAME.test(nodeName))
      throw new ConfigError(`NODE_NAME: ${quote(nodeName)} is not the name of a node`);
  } else if (!podName || !podNamespace) {
    throw new ConfigError(
      "the node of this host is unknown: set NODE_NAME (spec.nodeName of the downward API), or POD_NAME and POD_NAMESPACE",
    );
  }
}

/** What the node is read and written with. */
export interface OwnNodeParts {
  readonly client: ApiClient;
  readonly options: Pick<KubeStoreOptions, "nodeName" | "podName" | "podNamespace">;
  readonly names: AnnotationNames;
  readonly timings: KubeTimings;
  /** The logger is used for outages of the watch. */
  readonly ports: OutagePorts;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/** This host's node. Reads and patches throw StoreError; the watch retries by itself. */
export class OwnNode {
  readonly #parts: OwnNodeParts;
  #knownName: string | undefined;
  #record: OwnNodeRecord | undefined;
  #changes = 0;
  #following: Promise<void> | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(parts: OwnNodeParts) {
    this.#parts = parts;
    this.#knownName = parts.options.nodeName;
  }

  /** Undefined until the pod was read. */
  get knownName(): string | undefined {
    return this.#knownName;
  }

  /** Throws StoreError. */
  async name(): Promise<string> {
    if (this.#knownName !== undefined) return this.#knownName;
    const { podName = "", podNamespace = "" } = this.#parts.options;
    const pod = await this.#parts.client.call({
      verb: "get",
      resource: "pods",
      namespace: podNamespace,
      name: podName,
    });
    const name = isObject(pod) && isObject(pod.spec) ? pod.spec.nodeName : undefined;
    if (typeof name !== "string" || name === "") {
      throw new StoreError(
        "INVALID",
        `pod ${podNamespace}/${podName} is assigned to no node: set POD_NAME and POD_NAMESPACE, or NODE_NAME, from the downward API`,
      );
    }
    this.#knownName = name;
    return name;
  }

  /** The node as it is now. Throws StoreError, NOT_FOUND if there is no such node. */
  async read(): Promise<OwnNodeRecord> {
    const name = await this.name();
    try {
      return this.#understand(await this.#parts.client.call({ verb: "get", resource: "nodes", name }));
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "NOT_FOUND") throw error;
      throw new StoreError(
        "NOT_FOUND",
        `node ${name} does not exist: is NODE_NAME one of kubectl get nodes?`,
        { cause: error },
      );
    }
  }

  /** Merges `patch` into the node's status or metadata; returns the node as it is then. Throws StoreError. */
  async patch(patch: unknown): Promise<OwnNodeRecord> {
    const name = await this.name();
    return this.#understand(
      await this.#parts.client.call({ verb: "patch", resource: "nodes/status", name, patch }),
    );
  }

  /** As the watch saw it last; undefined = not yet, or no such node. */
  get record(): OwnNodeRecord | undefined {
    return this.#record;
  }

  /** Number of changes that the watch has seen. */
  get changes(): number {
    return this.#changes;
  }

  /** Resolves when {@link changes} is no longer `changes`, or when `signal` is aborted. */
  async changedSince(changes: number, signal: AbortSignal): Promise<void> {
    this.#following ??= this.#follow();
    if (this.#changes !== changes || signal.aborted) return;
    const { promise: aborted, resolve: abort } = Promise.withResolvers<void>();
    const onAbort = () => abort();
    signal.addEventListener("abort", onAbort, { once: true });
    await Promise.race([this.#changed.promise, aborted]);
    signal.removeEventListener("abort", onAbort);
  }

  /** Resolves when the watch has ended. */
  async ended(): Promise<void> {
    await this.#following;
  }

  async #follow(): Promise<void> {
    const { client, timings, names, ports, signal } = this.#parts;
    const nodeName = await this.name(); // known: the node is read before a change is waited for
    const source = {
      ...({ client, timings, resource: "nodes", fieldSelector: `metadata.name=${nodeName}` } as const),
      ...{ what: "this host's node", read: ownNodeRecordReader(names) },
    };
    for await (const update of watchObjects(source, ports, signal)) {
      if (update.type === "snapshot") this.#record = update.objects.find(({ name }) => name === nodeName);
      else this.#record = update.type === "put" ? update.object : undefined;
      this.#changes++;
      const changed = this.#changed;
      this.#changed = Promise.withResolvers();
      changed.resolve();
    }
  }

  #understand(object: unknown): OwnNodeRecord {
    const record = readOwnNodeRecord(object, this.#parts.names);
    if (record === undefined)
      throw new StoreError("INVALID", "the API server returned an object that is not a node");
    return record;
  }
}
