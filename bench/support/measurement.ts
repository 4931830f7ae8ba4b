/** Numbers that a benchmark finds, and what they are held against. */

/** One line of the report. */
export interface Measurement {
  /** "5,000 leases: start to the last route". */
  readonly measure: string;
  readonly value: number;
  /** "ms", "MB", "×"; empty for counts. */
  readonly unit: string;
  /** The same work done as cheaply as this machine can, measured in the same turns. */
  readonly floor?: number | undefined;
  /** The value must not be above this. */
  readonly bar?: number | undefined;
  /** The value must not be below this. */
  readonly leastBar?: number | undefined;
  /** Each turn's value, in order; `value` is their median unless `measure` says otherwise. */
  readonly samples?: readonly number[];
}

/** Whether the bar is kept; undefined = there is none. */
export function isKept({ value, bar, leastBar }: Measurement): boolean | undefined {
  if (bar === undefined && leastBar === undefined) return undefined;
  return value <= (bar ?? Number.POSITIVE_INFINITY) && value >= (leastBar ?? Number.NEGATIVE_INFINITY);
}

/** The value below which the share `fraction` (0…1) of the samples lies, nearest rank. Throws without samples. */
export function quantile(samples: readonly number[], fraction: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)];
  if (value === undefined) throw new Error("a quantile of no samples");
  return value;
}

/** The middle value; the mean of the two middle ones if their number is even. Throws without samples. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return (quantile(sorted, 0.5) + sorted[Math.floor(sorted.length / 2)]!) / 2;
}
