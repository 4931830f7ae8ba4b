/**
 * The lease store on the Kubernetes API: every node is a host, its podCIDRs are its subnets, and flannel's annotations,
 * shared with Go flannel, contain how peers reach it. The network config is a file, mounted from a ConfigMap.
 *
 * A start costs the same few requests whatever the number of nodes (besides their listing, 500 a request): the own node,
 * the patch of its annotations, two listings and two watches.
 */

import type { Logger } from "../../base/logger.ts";
import { systemTimers } from "../../base/timers.ts";
import type { Lease, LeaseAttributes, OwnLease } from "../lease.ts";
import { isProblem, type Problem } from "../lease-codec.ts";
import type { AcquireRequest, HostRecord, LeaseStore, LeaseUpdate } from "../lease-store.ts";
import { type AnnotationNames, annotationNames } from "./annotations.ts";
import { type ApiAccess, openAccess } from "./api-access.ts";
import { ApiClient } from "./api-client.ts";
import { keepAvailable } from "./availability.ts";
import {
  DEFAULT_TIMINGS,
  type KubeCounters,
  type KubePorts,
  type KubeStoreOptions,
  type KubeTimings,
} from "./kube-options.ts";
import { watchNodeLeases } from "./lease-watch.ts";
import { readConfigFile, watchConfigFile } from "./net-config-file.ts";
import { hostRecordOf } from "./node-annotations.ts";
import { leaseOfNode } from "./node-lease.ts";
import { type PackedNode, packedNodeReader, unpackNode } from "./node-record.ts";
import { listNewestObjects, type ObjectSource } from "./object-watch.ts";
import { OwnLeaseHolder } from "./own-lease.ts";
import { checkIdentity, OwnNode } from "./own-node.ts";

export type { KubeCounters, KubePorts, KubeStoreOptions } from "./kube-options.ts";

/** A LeaseStore with what only Kubernetes has: the node's name, its condition, counters for metrics. */
export interface KubeLeaseStore extends LeaseStore {
  readonly hasLocalConfig: true;
  readonly counters: KubeCounters;
  /** The name of this host's node; undefined until the pod was read. */
  readonly nodeName: string | undefined;
  /** Where the API server is. */
  readonly apiUrl: string;
  readHost(): Promise<HostRecord>;
  keepAvailable(signal: AbortSignal): Promise<void>;
}

/** Opens the store; nothing is sent yet. Throws ConfigError for what only an operator can fix. */
export async function createKubeLeaseStore(
  options: KubeStoreOptions,
  ports: KubePorts,
): Promise<KubeLeaseStore> {
  const names = annotationNames(options.annotationPrefix);
  checkIdentity(options);
  const access = await openAccess(options, ports.environment ?? process.env, ports.logger);
  for (const note of access.notes) ports.logger.warn(note);
  const timings = { ...DEFAULT_TIMINGS, ...options.timings };
  const defaults = { timers: systemTimers, wallClockMs: Date.now, random: Math.random, onOutage() {} };
  return new Store(options, names, access, timings, { ...defaults, ...ports });
}

class Store implements KubeLeaseStore {
  readonly hasLocalConfig = true;
  readonly apiUrl: string;
  readonly #options: KubeStoreOptions;
  readonly #names: AnnotationNames;
  readonly #timings: KubeTimings;
  readonly #ports: Required<Omit<KubePorts, "environment">>;
  readonly #client: ApiClient;
  readonly #node: OwnNode;
  readonly #own: OwnLeaseHolder;
  readonly #disposed = new AbortController();
  readonly #counts = { nodeEvents: 0, leaseChanges: 0, relists: 0 };
  #leaseWatches = 0;

  constructor(
    options: KubeStoreOptions,
    names: AnnotationNames,
    access: ApiAccess,
    timings: KubeTimings,
    ports: Required<Omit<KubePorts, "environment">>,
  ) {
    const { signal } = this.#disposed;
    this.apiUrl = access.url;
    this.#options = options;
    this.#names = names;
    this.#timings = timings;
    this.#ports = ports;
    this.#client = new ApiClient(access, timings, ports);
    const quiet = quietLogger(ports.logger, () => this.#leaseWatches > 0);
    const parts = { client: this.#client, options, names, timings, signal };
    this.#node = new OwnNode({ ...parts, ports: { ...ports, logger: quiet, onOutage() {} } });
    const listLeases = async () => {
      const nodes = await listNewestObjects(this.#source(), signal);
      return nodes.map((node) => leaseOfNode(unpackNode(node))).filter(isLease);
    };
    this.#own = new OwnLeaseHolder({ node: this.#node, names, timings, ports, listLeases, signal });
  }

  get nodeName(): string | undefined {
    return this.#node.knownName;
  }

  get counters(): KubeCounters {
    return { requests: this.#client.requestCount, ...this.#counts, annotationRepairs: this.#own.repairs };
  }

  readNetworkConfig(): Promise<string> {
    return readConfigFile(this.#options.netConfigPath);
  }

  watchNetworkConfig(signal: AbortSignal): AsyncIterable<string | undefined> {
    const { timers } = this.#ports;
    return watchConfigFile(
      this.#options.netConfigPath,
      this.#timings.configPollMs,
      timers,
      this.#until(signal),
    );
  }

  async readHost(): Promise<HostRecord> {
    return hostRecordOf(await this.#node.read(), this.#names);
  }

  acquire(request: AcquireRequest): Promise<OwnLease> {
    return this.#own.acquire(request);
  }

  renew(lease: OwnLease, attributes: LeaseAttributes): Promise<OwnLease> {
    return this.#own.renew(lease, attributes);
  }

  async *watchLeases(signal: AbortSignal): AsyncGenerator<LeaseUpdate, void> {
    const source = this.#source();
    const asHeld = this.#own.asHeld.bind(this.#own);
    this.#leaseWatches++;
    try {
      yield* watchNodeLeases(source, asHeld, this.#counts, this.#ports, this.#until(signal));
    } finally {
      this.#leaseWatches--;
    }
  }

  addressesChanged(): void {
    this.#client.dropConnections();
  }

  async keepAvailable(signal: AbortSignal): Promise<void> {
    if (!this.#options.setNodeNetworkUnavailable) return;
    await keepAvailable(this.#node, this.#timings, this.#ports, this.#until(signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#client[Symbol.dispose]();
    await Promise.all([this.#own.ended(), this.#node.ended()]);
  }

  #source(): ObjectSource<PackedNode> {
    const [client, timings] = [this.#client, this.#timings];
    return { client, timings, resource: "nodes", what: "the nodes", read: packedNodeReader(this.#names) };
  }

  #until(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#disposed.signal]);
  }
}

const isLease = (lease: Lease | Problem | undefined): lease is Lease =>
  lease !== undefined && !isProblem(lease);

/** Logs at debug level what another watch logs already: both lose the API server together. */
function quietLogger(logger: Logger, isQuiet: () => boolean): Logger {
  const at = (level: "info" | "warn" | "error") => (message: string) =>
    isQuiet() ? logger.debug(message) : logger[level](message);
  return {
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    debug: (message, verbosity) => logger.debug(message, verbosity),
  };
}
