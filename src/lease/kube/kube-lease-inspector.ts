/**
 * The nodes of a cluster as an operator sees them: who has which subnet and how peers reach it, and why a node has no
 * lease. It needs flanneld's read permissions, and writes nothing. Only what concerns this host needs the name of its node:
 * leases can be listed from any machine.
 */

import { isNotFound, StoreError } from "../../base/error.ts";
import { systemTimers } from "../../base/timers.ts";
import type { NetworkFamilies } from "../../config/network-config.ts";
import type {
  AssignedHost,
  LeaseInspector,
  LeaseRecord,
  RecordUpdate,
  StoredConfig,
} from "../lease-admin.ts";
import { isProblem } from "../lease-codec.ts";
import { type AnnotationNames, annotationNames } from "./annotations.ts";
import { type ApiAccess, openAccess } from "./api-access.ts";
import { ApiClient } from "./api-client.ts";
import { DEFAULT_TIMINGS, type KubePorts, type KubeStoreOptions, type KubeTimings } from "./kube-options.ts";
import { describeConfigFile, readConfigFile } from "./net-config-file.ts";
import { hostRecordOf } from "./node-annotations.ts";
import { leaseOfNode, subnetsOf, usableSubnets } from "./node-lease.ts";
import { type PackedNode, packedNodeReader, unpackNode } from "./node-record.ts";
import { listNewestObjects, type ObjectSource, watchObjects } from "./object-watch.ts";
import { checkIdentity, OwnNode } from "./own-node.ts";
import type { ObjectReader } from "./watch-events.ts";

/** The store's options without what only a daemon writes. */
export type KubeInspectorOptions = Omit<KubeStoreOptions, "setNodeNetworkUnavailable">;

/** Opens it; nothing is sent yet. Throws ConfigError. */
export async function createKubeLeaseInspector(
  options: KubeInspectorOptions,
  ports: KubePorts,
): Promise<LeaseInspector> {
  const names = annotationNames(options.annotationPrefix);
  const access = await openAccess(options, ports.environment ?? process.env, ports.logger);
  for (const note of access.notes) ports.logger.warn(note);
  const timings = { ...DEFAULT_TIMINGS, ...options.timings };
  const defaults = { timers: systemTimers, random: Math.random, onOutage() {} };
  return new Inspector(options, names, access, timings, { ...defaults, ...ports });
}

/** A node as it was last read, and the version of that. */
interface SeenNode extends PackedNode {
  readonly version: string | undefined;
}

/** The text of a node, and its record. */
interface KnownNode {
  readonly text: string;
  readonly record: LeaseRecord;
}

type Ports = Required<Pick<KubePorts, "logger" | "timers" | "random" | "onOutage">>;

class Inspector implements LeaseInspector {
  readonly keysAreNodes = true;
  readonly configPlace: string;
  readonly #options: KubeInspectorOptions;
  readonly #names: AnnotationNames;
  readonly #timings: KubeTimings;
  readonly #ports: Ports;
  readonly #client: ApiClient;
  readonly #disposed = new AbortController();

  constructor(
    options: KubeInspectorOptions,
    names: AnnotationNames,
    access: ApiAccess,
    timings: KubeTimings,
    ports: Ports,
  ) {
    this.configPlace = describeConfigFile(options.netConfigPath);
    this.#options = options;
    this.#names = names;
    this.#timings = timings;
    this.#ports = ports;
    this.#client = new ApiClient(access, timings, ports);
  }

  async readNetworkConfig(): Promise<Pick<StoredConfig, "text">> {
    try {
      return { text: await readConfigFile(this.#options.netConfigPath) };
    } catch (error) {
      if (!isNotFound(error)) throw error;
      throw new StoreError(
        "NOT_FOUND",
        `there is no network config at ${this.#options.netConfigPath} (--net-config-path), which is a file of flannel's pods: ` +
          "run this in one of them (kubectl exec), or see kubectl -n kube-flannel get configmap kube-flannel-cfg -o yaml",
        { cause: error },
      );
    }
  }

  async listRecords(): Promise<readonly LeaseRecord[]> {
    const nodes = await listNewestObjects(this.#source(), this.#disposed.signal);
    return nodes.map((node) => this.#recordOf(node, revisionOf(node, undefined)));
  }

  async readExpiries(): Promise<ReadonlyMap<string, number>> {
    return new Map();
  }

  /** Heartbeats are no changes: a record changes only if what flannel reads of the node does. */
  async *watchRecords(signal: AbortSignal): AsyncGenerator<RecordUpdate, void> {
    let known = new Map<string, KnownNode>();
    const look = (node: SeenNode): KnownNode => {
      const before = known.get(node.name);
      if (before?.text === node.text) return before;
      return { text: node.text, record: this.#recordOf(node, revisionOf(node, before)) };
    };
    const either = AbortSignal.any([signal, this.#disposed.signal]);
    for await (const update of watchObjects(this.#source(), this.#ports, either)) {
      if (update.type === "snapshot") {
        known = new Map(update.objects.map((node) => [node.name, look(node)]));
        yield { type: "snapshot", records: [...known.values()].map(({ record }) => record) };
        continue;
      }
      const { name } = update.object;
      if (update.type === "delete") {
        known.delete(name);
        yield { type: "delete", key: name };
        continue;
      }
      const now = look(update.object);
      if (now === known.get(name)) continue;
      known.set(name, now);
      yield { type: "put", record: now.record };
    }
  }

  async readAssignedHost(network: NetworkFamilies): Promise<AssignedHost> {
    checkIdentity(this.#options);
    const node = new OwnNode({
      client: this.#client,
      options: this.#options,
      names: this.#names,
      timings: this.#timings,
      ports: this.#ports,
      signal: this.#disposed.signal,
    });
    const record = await node.read();
    const subnets = usableSubnets(record, network);
    if (isProblem(subnets)) throw new StoreError("INVALID", `node ${record.name} ${subnets.problem}`);
    return { key: record.name, subnets, record: hostRecordOf(record, this.#names) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#client[Symbol.dispose]();
  }

  #source(): ObjectSource<SeenNode> {
    const [client, timings] = [this.#client, this.#timings];
    return { client, timings, resource: "nodes", what: "the nodes", read: seenNodeReader(this.#names) };
  }

  #recordOf(packed: PackedNode, revision: bigint): LeaseRecord {
    const node = unpackNode(packed);
    const subnets = node.podCidrs.length === 0 ? undefined : subnetsOf(node);
    const lease = leaseOfNode(node) ?? { problem: this.#whyNone(subnets) };
    return {
      key: node.name,
      subnets: subnets === undefined || isProblem(subnets) ? undefined : subnets,
      attributes: isProblem(lease) ? undefined : lease.attributes,
      problem: isProblem(lease) ? lease.problem : undefined,
      lifeId: undefined,
      revision,
    };
  }

  /** For a node that flannel does not manage. */
  #whyNone(subnets: ReturnType<typeof subnetsOf> | undefined): string {
    if (subnets === undefined) return "it has no podCIDR";
    return `flanneld has not run there (no annotation ${this.#names.managed})`;
  }
}

function seenNodeReader(names: AnnotationNames): ObjectReader<SeenNode> {
  const read = packedNodeReader(names);
  return (reader) => {
    const { version, object } = read(reader);
    return { version, object: object && { ...object, version } };
  };
}

/** Versions are numbers that rise (KEP-5504); where they are of another server's making, changes are counted. */
const revisionOf = ({ version = "" }: SeenNode, before: KnownNode | undefined): bigint =>
  /^\d+$/.test(version) ? BigInt(version) : (before?.record.revision ?? 0n) + 1n;
