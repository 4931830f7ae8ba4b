/**
 * How a store's watch turns the entries it reads into updates, the same for every store.
 *
 * Malformed entries are skipped and logged once (W1). A lease whose value becomes malformed keeps its last valid content as
 * long as its key exists: a typing error does not cut a peer off.
 */

import type { Logger } from "../base/logger.ts";
import type { Lease } from "./lease.ts";
import { isProblem, type Problem } from "./lease-codec.ts";
import type { LeaseUpdate } from "./lease-store.ts";

/** A key under `subnets/` and its content. */
export type LeaseEntry = readonly [key: string, content: Lease | Problem];

/** The valid leases among the entries of one watch. Never throws: what is malformed is logged and skipped. */
export interface LeaseView {
  /** The valid leases now. */
  leases(): Iterable<Lease>;
  /** Replaces all entries. */
  snapshot(entries: Iterable<LeaseEntry>): LeaseUpdate;
  /** An entry was written; undefined = no update. */
  put(entry: LeaseEntry): LeaseUpdate | undefined;
  /** A key was deleted; undefined = no update. */
  delete(key: string): LeaseUpdate | undefined;
}

/** `place` is where the keys are, for the log: "etcd under /coreos.com/network/subnets/". */
export function createLeaseView(place: string, logger: Logger): LeaseView {
  let good = new Map<string, Lease>();
  let reported = new Map<string, string>();

  const report = (key: string, problem: string) => {
    if (reported.get(key) !== problem) logger.warn(`Skipped ${JSON.stringify(key)} in ${place}: ${problem}`);
  };

  return {
    leases: () => good.values(),
    snapshot(entries) {
      const goodNow = new Map<string, Lease>();
      const reportedNow = new Map<string, string>();
      for (const [key, content] of entries) {
        if (isProblem(content)) {
          report(key, content.problem);
          reportedNow.set(key, content.problem);
        }
        const lease = isProblem(content) ? good.get(key) : content;
        if (lease !== undefined) goodNow.set(key, lease);
      }
      good = goodNow;
      reported = reportedNow;
      return { type: "snapshot", leases: [...good.values()] };
    },
    put([key, content]) {
      if (isProblem(content)) {
        report(key, content.problem);
        reported.set(key, content.problem);
        return undefined;
      }
      reported.delete(key);
      good.set(key, content);
      return { type: "put", lease: content };
    },
    delete(key) {
      reported.delete(key);
      return good.delete(key) ? { type: "delete", key } : undefined;
    },
  };
}
