/**
 * What happens in the agent, as one stream: parts emit events and do not know each other; readers (planning, readiness,
 * the drift ledger) subscribe. Delivery is synchronous and in the order of subscription.
 */

import type { NextHop } from "../backend/backend.ts";
import type { Lease, OwnLease } from "../lease/lease.ts";
import type { LeaseChanges } from "../recorder/input-changes.ts";
import type { Pass } from "../state/pass.ts";
import type { Repair } from "../state/reconciler.ts";

export type AgentEvent =
  /** The reconciler finished a pass. */
  | { readonly type: "pass"; readonly pass: Pass }
  /** The reconciler repaired drift. */
  | { readonly type: "repair"; readonly repair: Repair }
  /** The host acquired a lease of other subnets than before. */
  | { readonly type: "subnets"; readonly own: OwnLease }
  /** Another host has the identity of this host's backend: one of the two is a clone. */
  | { readonly type: "copied" }
  /** The leases of the network were received or changed. */
  | { readonly type: "peers" }
  /** What changed about one of them, or (without `lease`) about all, as it is logged. */
  | { readonly type: "peer"; readonly message: string; readonly lease?: Lease }
  /** The own lease was acquired, lost, contested or settled. */
  | { readonly type: "lease" }
  /** The same as data, also renewals; after it, the leases count for plans. */
  | { readonly type: "leases"; readonly changes: LeaseChanges }
  /** The kernel was asked for a next hop, or its answer changed: null = no route, undefined = no longer of interest. */
  | { readonly type: "next-hop"; readonly address: string; readonly hop: NextHop | null | undefined }
  /** The desired state was planned from what is known now. */
  | { readonly type: "planned" }
  /** The next hop of a peer changed. */
  | { readonly type: "next-hops" }
  /** A peer became unreachable for probes, or reachable again. */
  | { readonly type: "probe"; readonly message: string; readonly key: string };

export class AgentEvents {
  readonly #readers: ((event: AgentEvent) => void)[] = [];

  subscribe(reader: (event: AgentEvent) => void): void {
    this.#readers.push(reader);
  }

  emit(event: AgentEvent): void {
    for (const reader of this.#readers) reader(event);
  }
}
