/**
 * What a store's watch makes of the entries it reads, the same for every store.
 *
 * Junk is skipped and told once (W1). A lease whose value turns to junk keeps its last good content as long as its key
 * exists: a peer's slip of the pen does not cut it off.
 */

import type { Logger } from "../base/logger.ts";
import type { Lease } from "./lease.ts";
import { isProblem, type Problem } from "./lease-codec.ts";
import type { LeaseUpdate } from "./lease-store.ts";

/** A key under `subnets/` and what it holds. */
export type LeaseEntry = readonly [key: string, content: Lease | Problem];

export interface LeaseView {
  /** What peers see now. */
  leases(): Iterable<Lease>;
  /** All entries there are. */
  snapshot(entries: Iterable<LeaseEntry>): LeaseUpdate;
  /** An entry was written; undefined = nothing to tell. */
  put(entry: LeaseEntry): LeaseUpdate | undefined;
  /** A key was deleted; undefined = nothing to tell. */
  delete(key: string): LeaseUpdate | undefined;
}

/** `place` says in the log where the keys are: "etcd at /coreos.com/network/subnets/". */
export function createLeaseView(place: string, logger: Logger): LeaseView {
  let good = new Map<string, Lease>();
  let told = new Map<string, string>();

  const tell = (key: string, problem: string) => {
    if (told.get(key) !== problem) logger.warn(`skipping ${JSON.stringify(key)} in ${place}: ${problem}`);
  };

  return {
    leases: () => good.values(),
    snapshot(entries) {
      const goodNow = new Map<string, Lease>();
      const toldNow = new Map<string, string>();
      for (const [key, content] of entries) {
        if (isProblem(content)) {
          tell(key, content.problem);
          toldNow.set(key, content.problem);
        }
        const lease = isProblem(content) ? good.get(key) : content;
        if (lease !== undefined) goodNow.set(key, lease);
      }
      good = goodNow;
      told = toldNow;
      return { type: "snapshot", leases: [...good.values()] };
    },
    put([key, content]) {
      if (isProblem(content)) {
        tell(key, content.problem);
        told.set(key, content.problem);
        return undefined;
      }
      told.delete(key);
      good.set(key, content);
      return { type: "put", lease: content };
    },
    delete(key) {
      told.delete(key);
      return good.delete(key) ? { type: "delete", key } : undefined;
    },
  };
}
