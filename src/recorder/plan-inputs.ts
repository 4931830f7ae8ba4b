/**
 * What a plan was made from, as the flight recorder keeps it: differences to the plan before. Leases are those of the lease table,
 * so that what is still there costs little.
 */

import { isDeepStrictEqual } from "node:util";
import type { Host, NextHop, PublishedData } from "../backend/backend.ts";
import type { Network } from "../backend/backends.ts";
import type { Lease, SubnetPair } from "../lease/lease.ts";

/** The config of a plan; in place of a preshared key it has the fingerprint that plans name. */
export interface RecordedConfig {
  readonly network: Network;
  readonly host: Host;
  /** The backend's identity: its MACs or its public key. */
  readonly published: PublishedData;
  readonly implementation?: "kernel" | "userspace" | undefined;
  /** `--ip-blackhole-route`. */
  readonly blackholeRoute: boolean;
}

/** The own lease, as far as plans depend on it. */
export interface RecordedOwn {
  readonly key: string;
  readonly subnets: SubnetPair;
}

/** The next hop to an address, as the kernel answered; null = no route. */
export interface RecordedHop {
  readonly address: string;
  readonly hop: NextHop | null;
}

/** A renewal: nothing else of the lease changed. */
export interface RecordedRenewal {
  readonly key: string;
  readonly renewedAt: bigint | undefined;
}

/** What changed since the plan before; a missing member has not changed. */
export interface PlanInputs {
  readonly config?: RecordedConfig;
  /** Null = there is none. */
  readonly own?: RecordedOwn | null;
  /** Whether the leases were received. */
  readonly isKnown?: boolean;
  /** Leases that appeared or changed, the own one included. A lease that disappeared counts for another second. */
  readonly leases?: readonly Lease[];
  readonly renewals?: readonly RecordedRenewal[];
  /** Keys of leases that no longer count. */
  readonly goneLeases?: readonly string[];
  readonly hops?: readonly RecordedHop[];
  /** Addresses whose next hops are no longer of interest. */
  readonly goneHops?: readonly string[];
}

/** All inputs at one moment. */
export interface InputState {
  config: RecordedConfig | undefined;
  own: RecordedOwn | null;
  isKnown: boolean;
  readonly leases: Map<string, Lease>;
  readonly hops: Map<string, NextHop | null>;
}

/** What a plan is made from before anything is known. */
export const emptyInputs = (): InputState => ({
  config: undefined,
  ...{ own: null, isKnown: false, leases: new Map(), hops: new Map() },
});

/** Changes `state` into the one after `inputs`. */
export function applyInputs(state: InputState, inputs: PlanInputs): void {
  if (inputs.config !== undefined) state.config = inputs.config;
  if (inputs.own !== undefined) state.own = inputs.own;
  if (inputs.isKnown !== undefined) state.isKnown = inputs.isKnown;
  for (const key of inputs.goneLeases ?? []) state.leases.delete(key);
  for (const lease of inputs.leases ?? []) state.leases.set(lease.key, lease);
  for (const { key, renewedAt } of inputs.renewals ?? []) {
    const lease = state.leases.get(key);
    if (lease !== undefined) state.leases.set(key, { ...lease, renewedAt });
  }
  for (const address of inputs.goneHops ?? []) state.hops.delete(address);
  for (const { address, hop } of inputs.hops ?? []) state.hops.set(address, hop);
}

/** All of `state` as a difference to nothing; undefined if there is nothing. */
export function wholeInputs(state: InputState): PlanInputs | undefined {
  if (state.config === undefined) return undefined;
  return {
    ...{ config: state.config, own: state.own, isKnown: state.isKnown },
    leases: [...state.leases.values()],
    hops: Array.from(state.hops, ([address, hop]) => ({ address, hop })),
  };
}

/** Lets `state` share the content of a lease with the lease table, which has a new object after a renewal. */
export function shareLease(state: InputState, lease: Lease): void {
  const kept = state.leases.get(lease.key);
  if (kept === undefined || kept === lease) return;
  if (isDeepStrictEqual([kept.subnets, kept.attributes], [lease.subnets, lease.attributes]))
    state.leases.set(lease.key, { ...lease, renewedAt: kept.renewedAt, establishedAt: kept.establishedAt });
}
