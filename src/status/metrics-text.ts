/**
 * Metrics in Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 */

export const METRICS_TYPE = "text/plain; version=0.0.4";

/** One line of a metric. */
export interface Sample {
  /** Appended to the metric's name: "_bucket". */
  readonly suffix?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A metric with its samples. */
export interface Metric {
  /** With its unit at the end, and `_total` for counters: "flannel_drift_repairs_total". */
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly samples: readonly Sample[];
}

/** A metric of one value without labels. */
export const single = (type: "counter" | "gauge", name: string, help: string, value: number): Metric => ({
  name,
  help,
  type,
  samples: [{ value }],
});

/** Metrics without samples are left out. */
export function formatMetrics(metrics: readonly Metric[]): string {
  const lines: string[] = [];
  for (const { name, help, type, samples } of metrics) {
    if (samples.length === 0) continue;
    lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`);
    for (const { suffix = "", labels = {}, value } of samples)
      lines.push(`${name}${suffix}${formatLabels(labels)} ${formatValue(value)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** Counts values by their size. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  /** `bounds` are the upper bounds of the buckets, ascending; one without a bound is added. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    const index = this.#bounds.findIndex((bound) => value <= bound);
    this.#counts[index < 0 ? this.#bounds.length : index]!++;
    this.#sum += value;
  }

  get samples(): Sample[] {
    return this.samplesOf({});
  }

  /** With these labels besides the buckets' own. */
  samplesOf(labels: Readonly<Record<string, string>>): Sample[] {
    let count = 0;
    const buckets = [...this.#bounds, Number.POSITIVE_INFINITY].map((bound, index): Sample => {
      count += this.#counts[index]!;
      return { suffix: "_bucket", labels: { ...labels, le: formatValue(bound) }, value: count };
    });
    return [
      ...buckets,
      { suffix: "_sum", labels, value: this.#sum },
      { suffix: "_count", labels, value: count },
    ];
  }
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

const escapeHelp = (help: string): string => help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");

const escapeLabel = (value: string): string => escapeHelp(value).replaceAll('"', '\\"');

const formatValue = (value: number): string =>
  value === Number.POSITIVE_INFINITY ? "+Inf" : value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
