/** A watch on a store's leases that is followed in the background. */

import type { LeaseStore, LeaseUpdate } from "../../src/lease/lease-store.ts";
import { createLeaseTable, type LeaseTable } from "../../src/lease/lease-table.ts";

export interface LeaseWatch extends AsyncDisposable {
  readonly table: LeaseTable;
  /** All that came so far. */
  readonly updates: readonly LeaseUpdate[];
  /** How many snapshots were among them. */
  readonly snapshots: number;
  /** Whether 10.5.`number`.0/24 is leased. */
  sees(number: number): boolean;
}

/** Follows the leases until disposed of. */
export function follow(store: LeaseStore): LeaseWatch {
  const abort = new AbortController();
  const table = createLeaseTable();
  const updates: LeaseUpdate[] = [];
  const done = (async () => {
    for await (const update of store.watchLeases(abort.signal)) {
      updates.push(update);
      table.apply(update);
    }
  })();
  return {
    table,
    updates,
    get snapshots() {
      return updates.filter(({ type }) => type === "snapshot").length;
    },
    sees: (number) => table.get(`10.5.${number}.0-24`) !== undefined,
    async [Symbol.asyncDispose]() {
      abort.abort();
      await done;
    },
  };
}
