/** A token bucket: a burst, then a rate per second. The caller passes the time. */

/** The state of a bucket: `perSecond` events are allowed on average, `burst` at once; `lastMs` is monotonic time. */
export interface RateLimit {
  readonly perSecond: number;
  readonly burst: number;
  tokens: number;
  lastMs: number;
}

/** A full bucket. */
export const createRateLimit = (perSecond: number, burst: number): RateLimit => ({
  perSecond,
  burst,
  tokens: burst,
  lastMs: 0,
});

/** Whether one more event is allowed at `nowMs` (monotonic). */
export function takeToken(limit: RateLimit, nowMs: number): boolean {
  const earned = ((nowMs - limit.lastMs) * limit.perSecond) / 1000;
  limit.tokens = Math.min(limit.burst, limit.tokens + Math.max(0, earned));
  limit.lastMs = nowMs;
  if (limit.tokens < 1) return false;
  limit.tokens -= 1;
  return true;
}
