/** What a plan comes to for each peer, worked out once while nothing it depends on changes. */

import type { Lease } from "../lease/lease.ts";
import type { PlanInput } from "./backend.ts";

/**
 * A lease never changes (a new one takes its place), so that planning for 5,000 peers after one change is 5,000
 * look-ups, and what did not change keeps its identity.
 */
export function rememberByPeer<T>(
  work: (peer: Lease, input: PlanInput) => T,
): (input: PlanInput) => (peer: Lease) => T {
  let basis: PlanInput | undefined;
  let known = new WeakMap<Lease, T>();
  return (input) => {
    const isSame =
      basis?.host === input.host &&
      basis.network === input.network &&
      basis.own === input.own &&
      basis.nextHop === input.nextHop;
    if (!isSame) {
      known = new WeakMap();
      basis = { ...input, peers: [] };
    }
    return (peer) => {
      let result = known.get(peer);
      if (result === undefined) {
        result = work(peer, input);
        known.set(peer, result);
      }
      return result;
    };
  };
}
