/**
 * The ports between an operator's tool and a datastore: what no host needs and a LeaseStore therefore hides. Malformed
 * records are shown, not skipped; every write is a compare-and-swap on what the operator saw.
 *
 * All requests throw StoreError UNAVAILABLE, UNAUTHENTICATED or FORBIDDEN.
 */

import type { NetworkFamilies } from "../config/network-config.ts";
import type { LeaseAttributes, SubnetPair } from "./lease.ts";
import type { HostRecord } from "./lease-store.ts";

/** A key under `subnets/`, valid or not, or a node. Immutable. */
export interface LeaseRecord {
  /** The key as it is in the store, unchecked, or the node's name. */
  readonly key: string;
  /** Undefined = the key names no subnet, the node has none. */
  readonly subnets: SubnetPair | undefined;
  /** Undefined = the value is malformed, or the node has no usable lease. */
  readonly attributes: LeaseAttributes | undefined;
  /** What is wrong with key, value or node, as the end of a sentence. */
  readonly problem: string | undefined;
  /** The store's name for the life of the record; undefined = it never expires: a reservation, a node's. */
  readonly lifeId: string | undefined;
  /** Grows with every write: the same key with the same revision is the same record. */
  readonly revision: bigint;
}

/** Changes of the records: first a snapshot, then single changes; again a snapshot after a gap. */
export type RecordUpdate =
  | { readonly type: "snapshot"; readonly records: readonly LeaseRecord[] }
  | { readonly type: "put"; readonly record: LeaseRecord }
  | { readonly type: "delete"; readonly key: string };

/** The network config as it is stored. */
export interface StoredConfig {
  readonly text: string;
  /** Grows with every write. */
  readonly revision: bigint;
}

/** What the datastore assigns to this host, where hosts do not choose themselves (Kubernetes). */
export interface AssignedHost {
  /** The key of its lease. */
  readonly key: string;
  readonly subnets: SubnetPair;
  readonly record: HostRecord;
}

/** Read access to a datastore, for operators. */
export interface LeaseInspector extends AsyncDisposable {
  /** Where the network config is, for operators: "etcd key /coreos.com/network/config". */
  readonly configPlace: string;

  /** Whether the keys are names of nodes, which have their subnets as long as they exist; else the keys are the subnets. */
  readonly keysAreNodes?: boolean;

  /** Undefined = there is none. Throws NOT_FOUND where it should be in a file of this machine. */
  readNetworkConfig(): Promise<Pick<StoredConfig, "text"> | undefined>;

  /** All records, in any order. */
  listRecords(): Promise<readonly LeaseRecord[]>;

  /**
   * When these records expire, by key, in wall-clock ms since the epoch. Reservations and what has expired meanwhile
   * are not in it. May cost a request per record: ask only for what is shown.
   */
  readExpiries(records: readonly LeaseRecord[]): Promise<ReadonlyMap<string, number>>;

  /** All records, then their changes, until aborted. Broken connections are retried inside; never ends with an error. */
  watchRecords(signal: AbortSignal): AsyncIterable<RecordUpdate>;

  /**
   * What is assigned to this host. Throws StoreError: NOT_FOUND, INVALID if it is not usable; ConfigError if the host is
   * unknown.
   */
  readAssignedHost?(network: NetworkFamilies): Promise<AssignedHost>;
}

/** A datastore that operators may change: etcd, or a server with its API. */
export interface LeaseAdmin extends LeaseInspector {
  readNetworkConfig(): Promise<StoredConfig | undefined>;

  /** Writes the config if the stored one is still `expected` (undefined = there is none); false = it is not. */
  writeNetworkConfig(text: string, expected: StoredConfig | undefined): Promise<boolean>;

  /** Creates a reservation; false = the key exists, or an overlapping lease was created since the last listing. */
  reserve(subnets: SubnetPair, attributes: LeaseAttributes): Promise<boolean>;

  /** Removes the expiry of a lease, so that it becomes a reservation; false = it has changed since the listing. */
  keepForever(record: LeaseRecord): Promise<boolean>;

  /** Deletes a record; false = it has changed since the listing. */
  release(record: LeaseRecord): Promise<boolean>;
}
