/** Search for the largest packet that passes, without help from the path: ICMP "too big" is often filtered (RFC 4821). */

/** Sizes in bytes of whole IP packets. */
export interface Bisection {
  /** The largest that is known to pass. */
  readonly passed: number;
  /** The smallest that is known not to pass. */
  readonly failed: number;
  /** Packets of the size in question that were lost so far. */
  readonly losses: number;
}

/** A lost packet is not too large yet: the path may lose packets of all sizes. */
const LOSSES = 3;

/** Begins a search between a size that passed and one that did not, in bytes of whole IP packets. */
export const startBisection = (passed: number, failed: number): Bisection => ({ passed, failed, losses: 0 });

/** The size to try next; undefined = found: `passed`. */
export const nextSize = ({ passed, failed }: Bisection): number | undefined =>
  failed - passed > 1 ? (passed + failed) >>> 1 : undefined;

/** Continues with the result for a size; results for others than {@link nextSize} count where they say something new. */
export function continueBisection(bisection: Bisection, sizeBytes: number, hasPassed: boolean): Bisection {
  const { passed, failed, losses } = bisection;
  if (hasPassed) {
    if (sizeBytes <= passed) return bisection;
    return { passed: sizeBytes, failed: Math.max(failed, sizeBytes + 1), losses: 0 };
  }
  if (sizeBytes !== nextSize(bisection)) return bisection;
  return losses + 1 < LOSSES
    ? { passed, failed, losses: losses + 1 }
    : { passed, failed: sizeBytes, losses: 0 };
}
