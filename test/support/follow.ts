/** A watch on a store's leases that is followed in the background. */

import type { LeaseStore } from "../../src/lease/lease-store.ts";
import { createLeaseTable, type LeaseTable } from "../../src/lease/lease-table.ts";

export interface LeaseWatch extends AsyncDisposable {
  readonly table: LeaseTable;
  /** How many snapshots came so far. */
  readonly snapshots: number;
  /** Whether 10.5.`number`.0/24 is leased. */
  sees(number: number): boolean;
}

/** Follows the leases until disposed of. */
export function follow(store: LeaseStore): LeaseWatch {
  const abort = new AbortController();
  const table = createLeaseTable();
  let snapshots = 0;
  const done = (async () => {
    for await (const update of store.watchLeases(abort.signal)) {
      table.apply(update);
      if (update.type === "snapshot") snapshots++;
    }
  })();
  return {
    table,
    get snapshots() {
      return snapshots;
    },
    sees: (number) => table.get(`10.5.${number}.0-24`) !== undefined,
    async [Symbol.asyncDispose]() {
      abort.abort();
      await done;
    },
  };
}
