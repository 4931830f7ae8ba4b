/**
 * The port between flannel and a datastore (etcd v3, etcd v2, embedded, Kubernetes; a fake in tests).
 * One conformance suite (test/conformance/lease-store.suite.ts) says what every implementation does.
 */

import type { Ip } from "../address/ip.ts";
import type { Prefix } from "../address/prefix.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { Lease, LeaseAttributes, OwnLease, SubnetPair } from "./lease.ts";
import type { HostIdentity } from "./ownership.ts";

/** Changes of the set of leases, the own one included: first a snapshot, then single changes; again a snapshot after a gap. */
export type LeaseUpdate =
  | { readonly type: "snapshot"; readonly leases: readonly Lease[] }
  | { readonly type: "put"; readonly lease: Lease }
  | { readonly type: "delete"; readonly key: string };

/** What {@link LeaseStore.acquire} needs. */
export interface AcquireRequest {
  readonly network: NetworkFamilies;
  readonly attributes: LeaseAttributes;
  /** The subnets of the previous run (subnet.env), taken again if free and compatible. */
  readonly previous: SubnetPair | undefined;
  /**
   * Prefixes that the host uses itself. A subnet that overlaps one is drawn only if no other is free; one that the host
   * has already, or had in its previous run, is kept. Undefined = none. Without effect in Kubernetes.
   */
  readonly avoid?: readonly Prefix[];
  /** How to find a lease of this host under an earlier address, and to recognise a clone; undefined = neither. */
  readonly identity?: HostIdentity | undefined;
  /** Ends an acquisition that waits for others (Kubernetes: for the node's podCIDR); it then throws UNAVAILABLE. */
  readonly signal?: AbortSignal;
  /** Called with what the acquisition waits for, as the end of "no lease yet: …". */
  readonly onWait?: (reason: string) => void;
}

/** What the datastore has about this host before it has a lease. Kubernetes: the annotations of the node. */
export interface HostRecord {
  /** Addresses that count like `--public-ip` and `--public-ipv6`, and take precedence over these. */
  readonly publicIp: Ip | undefined;
  readonly publicIpv6: Ip | undefined;
  /** Addresses to publish instead of the host's public ones. */
  readonly publishedIp: Ip | undefined;
  readonly publishedIpv6: Ip | undefined;
  /** What an earlier run published: a VTEP keeps its MAC. Undefined = nothing, or malformed. */
  readonly attributes: LeaseAttributes | undefined;
}

/**
 * A datastore as the daemon uses it. Each StoreError's code says whether to retry, to acquire again, or to wait for an
 * operator.
 */
export interface LeaseStore extends AsyncDisposable {
  /** Whether the network config is a file of this host, mounted for this start: an invalid one ends it. */
  readonly hasLocalConfig?: boolean;

  /** The raw network config (JSON text). Throws StoreError: NOT_FOUND, UNAVAILABLE, UNAUTHENTICATED. */
  readNetworkConfig(): Promise<string>;

  /** The raw config now (undefined = there is none) and after each change, until aborted. Retries by itself, never ends with an error. */
  watchNetworkConfig(signal: AbortSignal): AsyncIterable<string | undefined>;

  /**
   * Acquires a lease in the order: own one by public IP, previous subnet, a random one of the first 100 free.
   * Throws StoreError: OUT_OF_SUBNETS, CONFLICT (ten lost races), UNAVAILABLE, UNAUTHENTICATED; all may pass by themselves.
   */
  acquire(request: AcquireRequest): Promise<OwnLease>;

  /**
   * Extends the own lease and publishes `attributes`, by compare-and-swap.
   * Throws StoreError LEASE_LOST if the key is gone or another host's: acquire again.
   */
  renew(lease: OwnLease, attributes: LeaseAttributes): Promise<OwnLease>;

  /**
   * All leases, then their changes, until aborted. Broken connections, compaction and malformed entries are handled inside:
   * a malformed entry is skipped and logged once (a lease whose value becomes malformed keeps its last valid one); after a
   * gap comes a new snapshot. Never ends with an error.
   */
  watchLeases(signal: AbortSignal): AsyncIterable<LeaseUpdate>;

  /** This host's addresses have changed: connections from an old one are dead, without any notification. */
  addressesChanged?(): void;

  /** What is known of this host already. Throws StoreError: NOT_FOUND, UNAVAILABLE, UNAUTHENTICATED, FORBIDDEN. */
  readHost?(): Promise<HostRecord>;

  /** Reports to the cluster that this host's network works, and again whenever that is undone; until aborted. Never ends with an error. */
  keepAvailable?(signal: AbortSignal): Promise<void>;
}
