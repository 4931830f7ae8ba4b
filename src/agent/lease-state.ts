/** The states of this host's lease; what changes one into another is in lease-keeper.ts. */

import type { LeaseAttributes, OwnLease } from "../lease/lease.ts";

/** There is no lease yet, or it was lost. */
interface Acquiring {
  readonly name: "acquiring";
  /** The lost lease. */
  readonly own: OwnLease | undefined;
  readonly problem: string;
}

export interface Held {
  readonly name: "held";
  readonly own: OwnLease;
  /** The attributes that were published last; others than the current ones are to be replaced at once. */
  readonly published: LeaseAttributes;
  /** When to renew next and when the lease expires: monotonic, so that a step of the wall clock moves neither. */
  readonly dueAtMs: number;
  readonly endsAtMs: number;
  /** Set once the lease has expired without a renewal. */
  readonly problem: string | undefined;
}

/** Another host publishes the public IP of this one. */
export interface Contested {
  readonly name: "contested";
  readonly own: OwnLease;
  readonly problem: string;
  /** To return to. */
  readonly held: Held;
}

export type LeaseState = Acquiring | Held | Contested;
