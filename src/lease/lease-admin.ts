/**
 * The ports between an operator's tool and a datastore: what a LeaseStore hides from hosts, because no host needs it.
 * Junk is shown here, not skipped; every write is a compare-and-swap on what the operator saw.
 *
 * All requests throw StoreError UNAVAILABLE, UNAUTHENTICATED or FORBIDDEN.
 */

import type { NetworkFamilies } from "../config/network-config.ts";
import type { LeaseAttributes, SubnetPair } from "./lease.ts";
import type { HostRecord } from "./lease-store.ts";

/** A key under `subnets/`, whatever it holds, or a node. Immutable. */
export interface LeaseRecord {
  /** The key as it is in the store, in which anything may be, or the node's name. */
  readonly key: string;
  /** Undefined = the key names no subnet, the node has none. */
  readonly subnets: SubnetPair | undefined;
  /** Undefined = the value is junk, the node has no lease that others could use. */
  readonly attributes: LeaseAttributes | undefined;
  /** What is wrong with key, value or node, as the end of a sentence. */
  readonly problem: string | undefined;
  /** What the store calls the life of the record; undefined = it never expires: a reservation, a node's. */
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

/** What a datastore has decided about this host, where hosts do not choose for themselves. */
export interface AssignedHost {
  /** The key of its lease. */
  readonly key: string;
  readonly subnets: SubnetPair;
  readonly record: HostRecord;
}

/** A datastore, whichever it is, to look at. */
export interface LeaseInspector extends AsyncDisposable {
  /** Where the network config is, in an operator's words: "etcd key /coreos.com/network/config". */
  readonly configPlace: string;

  /** Whether the keys are names of nodes, which have their subnets as long as they are there; else the keys are the subnets. */
  readonly keysAreNodes?: boolean;

  /** Undefined = there is none. Throws NOT_FOUND where a file of this machine should hold it. */
  readNetworkConfig(): Promise<Pick<StoredConfig, "text"> | undefined>;

  /** All records, in no order. */
  listRecords(): Promise<readonly LeaseRecord[]>;

  /**
   * When these records expire, by key, in wall-clock ms since the epoch. Reservations and what has expired meanwhile
   * are not in it. May cost a request per record: ask only for what is shown.
   */
  readExpiries(records: readonly LeaseRecord[]): Promise<ReadonlyMap<string, number>>;

  /** All records, then their changes, until aborted. Broken connections are dealt with inside; never ends with an error. */
  watchRecords(signal: AbortSignal): AsyncIterable<RecordUpdate>;

  /**
   * What is decided about this host. Throws StoreError: NOT_FOUND, INVALID if nothing that it could use; ConfigError if
   * nobody says which host this is.
   */
  readAssignedHost?(network: NetworkFamilies): Promise<AssignedHost>;
}

/** A datastore that is an operator's to change as well: etcd, or what speaks as etcd does. */
export interface LeaseAdmin extends LeaseInspector {
  readNetworkConfig(): Promise<StoredConfig | undefined>;

  /** Writes the config if the stored one is still `expected` (undefined = there is none); false = it is not. */
  writeNetworkConfig(text: string, expected: StoredConfig | undefined): Promise<boolean>;

  /** Makes a new reservation; false = the key is there already, or an overlapping lease was made since the last listing. */
  reserve(subnets: SubnetPair, attributes: LeaseAttributes): Promise<boolean>;

  /** Takes the expiry from a lease, so that it becomes a reservation; false = it is not as listed any more. */
  keepForever(record: LeaseRecord): Promise<boolean>;

  /** Deletes a record; false = it is not as listed any more. */
  release(record: LeaseRecord): Promise<boolean>;
}
