/**
 * Leases that the datastore lost with its data: it was set up again, or restored from an older backup.
 *
 * Their hosts still live, and acquire them again as soon as they notice. Removing their routes for these seconds would cut
 * off every container from every other. So such a lease counts for a grace period, unless a new one replaces it: with the
 * same key, of the same host, or for the same addresses.
 */

import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import { type Lease, overlapsPair } from "./lease.ts";
import type { LeaseUpdate } from "./lease-store.ts";
import type { LeaseEntry, LeaseView } from "./lease-view.ts";
import { isSameHost } from "./ownership.ts";

/** An update, and for a snapshot the leases that are missing although no deletion was seen. */
export interface StoreUpdate {
  readonly update: LeaseUpdate;
  readonly vanished?: readonly Lease[];
}

/** The log, and the monotonic clock of the grace period. */
export interface LostDataPorts {
  readonly logger: Logger;
  readonly timers: Timers;
}

/** The first snapshot of a store that has, or may have, other data than before. */
export function snapshotAfterLoss(
  view: LeaseView,
  entries: readonly LeaseEntry[],
  ownKey: string | undefined,
): StoreUpdate {
  const keys = new Set(entries.map(([key]) => key));
  // Not the own lease: its holder has to notice the loss.
  const vanished = [...view.leases()].filter(({ key }) => !keys.has(key) && key !== ownKey);
  return { update: view.snapshot(entries), vanished };
}

/** The updates as the agent sees them; vanished leases are kept for `graceMs`. */
export async function* outliveLostData(
  updates: AsyncGenerator<StoreUpdate, void, undefined>,
  graceMs: number,
  { logger, timers }: LostDataPorts,
): AsyncGenerator<LeaseUpdate, void, undefined> {
  const survivors = new Map<string, Lease>();
  let grace: Grace | undefined;
  const takeDisplaced = (lease: Lease) => {
    const displaced = survivors
      .values()
      .filter((survivor) => replaces(lease, survivor))
      .map(({ key }) => key)
      .toArray();
    for (const key of displaced) survivors.delete(key);
    return displaced;
  };
  try {
    let next = updates.next();
    for (;;) {
      const result = grace === undefined ? await next : await Promise.race([next, grace.isOver]);
      if (result === undefined) {
        grace = undefined;
        if (survivors.size > 0)
          logger.warn(
            `Dropped leases that the datastore lost and no host acquired again (${survivors.size})`,
          );
        for (const key of survivors.keys()) yield { type: "delete", key };
        survivors.clear();
        continue;
      }
      if (result.done === true) return;
      const { update, vanished } = result.value;
      if (vanished !== undefined && vanished.length > 0) {
        logger.warn(
          `Datastore lost leases (${vanished.length}); they count for ${graceMs / 1000} s more, until their hosts acquire them again`,
        );
        for (const lease of vanished) survivors.set(lease.key, lease);
        grace?.callOff();
        grace = startGrace(graceMs, timers);
      }
      if (update.type === "snapshot" && survivors.size > 0) {
        for (const lease of update.leases) takeDisplaced(lease);
        yield { type: "snapshot", leases: [...update.leases, ...survivors.values()] };
      } else {
        if (update.type === "put") {
          for (const key of takeDisplaced(update.lease)) {
            if (key !== update.lease.key) yield { type: "delete", key };
          }
        }
        yield update;
      }
      next = updates.next();
    }
  } finally {
    grace?.callOff();
    void updates.return(); // not awaited: its next update, which may never come, is under way
  }
}

interface Grace {
  readonly isOver: Promise<undefined>;
  readonly callOff: () => void;
}

function startGrace(graceMs: number, timers: Timers): Grace {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  return { isOver: promise, callOff: timers.after(graceMs, () => resolve(undefined)) };
}

/** Whether `lease` shows that `missing` is no longer in effect: the same key, the same host, or the same addresses. */
export const replaces = (lease: Lease, missing: Lease): boolean =>
  missing.key === lease.key ||
  overlapsPair(missing.subnets, lease.subnets) ||
  isSameHost(missing.attributes, lease.attributes);
