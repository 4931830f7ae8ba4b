/** When a lease is renewed, by its life and `--subnet-lease-renew-margin`. */

/** A margin just below the life of leases must not renew all the time. */
const SHORTEST_MS = 60_000;
/** A lease that lasts for months is renewed daily: no timer waits that long. */
const LONGEST_MS = 24 * 3_600_000;

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
