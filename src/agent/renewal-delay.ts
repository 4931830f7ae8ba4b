/** When a lease is renewed, by its life and `--subnet-lease-renew-margin`. */

import type { OwnLease } from "../lease/lease.ts";

const HOUR_MS = 3_600_000;
/** A margin just below the life of leases must not renew all the time. */
const SHORTEST_MS = 60_000;
/** A lease that lasts for months is renewed daily: no timer waits that long. */
const LONGEST_MS = 24 * HOUR_MS;

/**
 * How long after an acquisition or renewal the next renewal is due: `marginMs` before expiry. A lease that is not longer
 * than the margin is renewed after a third of its life. All in ms; `lifeMs` may be infinite.
 */
export function renewalDelayMs(lifeMs: number, marginMs: number): number {
  if (lifeMs <= marginMs) return lifeMs / 3;
  return Math.min(Math.max(lifeMs - marginMs, Math.min(SHORTEST_MS, lifeMs / 3)), LONGEST_MS);
}

/** What to log once if the margin cannot be honoured for leases of this life; undefined = it can. */
export const marginWarning = (lifeMs: number, marginMs: number): string | undefined =>
  lifeMs > marginMs
    ? undefined
    : `Leases last ${Math.round(lifeMs / 1000)} s, so --subnet-lease-renew-margin=${marginMs / 60_000} has no effect; ` +
      `renewing after ${Math.round(renewalDelayMs(lifeMs, marginMs) / 1000)} s`;

/** "expires in 24 h", for the log. `nowMs` is the wall clock. */
export function describeLife({ expiresAtMs }: OwnLease, nowMs: number): string {
  if (expiresAtMs === undefined) return "does not expire";
  const lifeMs = expiresAtMs - nowMs;
  return lifeMs >= HOUR_MS
    ? `expires in ${Math.round(lifeMs / HOUR_MS)} h`
    : `expires in ${Math.round(lifeMs / 1000)} s`;
}
