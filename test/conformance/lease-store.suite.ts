/** What every {@link LeaseStore} does, run on each implementation through a {@link LeaseStoreHarness}. */

import { describeAllocation } from "./lease-store-allocation.suite.ts";
import type { LeaseStoreHarness } from "./lease-store-harness.ts";
import { describeWatching } from "./lease-store-watching.suite.ts";

/** Runs the whole suite; `start` makes a fresh, empty datastore for each test. */
export function describeLeaseStore(name: string, start: () => Promise<LeaseStoreHarness>): void {
  describeWatching(name, start);
  describeAllocation(name, start);
}
