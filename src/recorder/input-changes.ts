/** Collects what plans are made from, between the plans that the flight recorder keeps. Each change costs the same, however many leases there are. */

import type { NextHop } from "../backend/backend.ts";
import { type Lease, sameSubnets } from "../lease/lease.ts";
import type { PlanInputs, RecordedConfig, RecordedHop, RecordedOwn, RecordedRenewal } from "./plan-inputs.ts";

/** Changes of leases. */
export interface LeaseChanges {
  /** Those that appeared or have other content. */
  readonly changed: readonly Lease[];
  /** Those that were written again with the same content. */
  readonly renewed: readonly Lease[];
  readonly gone: readonly string[];
}

/** The latest change of each lease (null = gone) and of each next hop (undefined = no longer of interest). */
class Changes {
  readonly leases = new Map<string, { readonly lease: Lease; readonly isRenewal: boolean } | null>();
  readonly hops = new Map<string, NextHop | null | undefined>();
}

/** What of the inputs is no list. */
interface Current {
  readonly config: RecordedConfig;
  readonly own: RecordedOwn | undefined;
  readonly isKnown: boolean;
}

/** The changes since the latest recorded plan. */
export class InputChanges {
  /** Since the latest plan. */
  #pending = new Changes();
  /** What the latest plan was made from, and no recorded one before. */
  #planned = new Changes();
  #current: Current | undefined;
  #recorded: Current | undefined;

  noteLeases({ changed, renewed, gone }: LeaseChanges): void {
    const { leases } = this.#pending;
    for (const key of gone) leases.set(key, null);
    for (const lease of changed) leases.set(lease.key, { lease, isRenewal: false });
    for (const lease of renewed) {
      const before = leases.get(lease.key);
      leases.set(lease.key, { lease, isRenewal: before === undefined || before?.isRenewal === true });
    }
  }

  /** Null = no route, undefined = no longer of interest. */
  noteHop(address: string, hop: NextHop | null | undefined): void {
    this.#pending.hops.set(address, hop);
  }

  /** A plan was made from all that was noted so far, and from these. */
  notePlan(current: Current): void {
    this.#current = current;
    const pending = this.#pending;
    if (pending.leases.size + pending.hops.size === 0) return;
    this.#pending = new Changes();
    if (this.#planned.leases.size + this.#planned.hops.size === 0) {
      this.#planned = pending;
      return;
    }
    const { leases, hops } = this.#planned;
    for (const [key, change] of pending.leases) {
      const isRenewal = change?.isRenewal === true && (leases.get(key)?.isRenewal ?? !leases.has(key));
      leases.set(key, change && { lease: change.lease, isRenewal });
    }
    for (const [address, hop] of pending.hops) hops.set(address, hop);
  }

  /** What the latest plan was made from, as a difference to what was taken before; undefined = nothing else. */
  take(): PlanInputs | undefined {
    const current = this.#current;
    if (current === undefined) return undefined;
    const inputs: PlanInputs = { ...this.#currentChanges(current), ...listChanges(this.#planned) };
    this.#recorded = current;
    this.#planned = new Changes();
    return Object.keys(inputs).length === 0 ? undefined : inputs;
  }

  #currentChanges({ config, own, isKnown }: Current): PlanInputs {
    const before = this.#recorded;
    const isOwnSame =
      before !== undefined &&
      (own === undefined
        ? before.own === undefined
        : before.own?.key === own.key && sameSubnets(before.own.subnets, own.subnets));
    return {
      ...(before?.config === config ? {} : { config }),
      ...(isOwnSame ? {} : { own: own ?? null }),
      ...(before?.isKnown === isKnown ? {} : { isKnown }),
    };
  }
}

function listChanges(changes: Changes): PlanInputs {
  const leases: Lease[] = [];
  const renewals: RecordedRenewal[] = [];
  const goneLeases: string[] = [];
  for (const [key, change] of changes.leases) {
    if (change === null) goneLeases.push(key);
    else if (change.isRenewal) renewals.push({ key, renewedAt: change.lease.renewedAt });
    else leases.push(change.lease);
  }
  const hops: RecordedHop[] = [];
  const goneHops: string[] = [];
  for (const [address, hop] of changes.hops) {
    if (hop === undefined) goneHops.push(address);
    else hops.push({ address, hop });
  }
  const lists = { leases, renewals, goneLeases, hops, goneHops };
  return Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0));
}
