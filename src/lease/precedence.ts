/**
 * Which of two leases counts where they conflict. All hosts decide alike, also after a restart, because the evidence comes
 * from the datastore, not from the order in which a host received the leases:
 *
 * - Two leases name one subnet: the one that was established first keeps it. What works stays.
 * - Two leases name one VTEP (a MAC): the one that was written last has it, where both were written by hosts that renew
 *   them. A host that moved to another address writes a new lease and does not renew the old one.
 */

import type { Lease } from "./lease.ts";

type Renewed = Pick<Lease, "renewedAt">;

/** The established lease first. Leases of unknown age come last; equal ones are ordered by key. For Array.sort. */
export function byEstablishment(a: Lease, b: Lease): number {
  if (a.establishedAt !== b.establishedAt) {
    if (a.establishedAt === undefined) return 1;
    if (b.establishedAt === undefined) return -1;
    return a.establishedAt < b.establishedAt ? -1 : 1;
  }
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

/**
 * Whether `lease` has what both claim although `established` was there first: it was renewed later. Reservations, which
 * operators write and no host renews, neither supersede a lease nor are superseded.
 */
export const supersedes = (lease: Renewed, established: Renewed): boolean =>
  lease.renewedAt !== undefined &&
  established.renewedAt !== undefined &&
  lease.renewedAt > established.renewedAt;
