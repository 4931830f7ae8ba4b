/** What the agent counts for metrics: passes of the reconciler and the operations on the kernel. */

import type { Pass } from "../state/pass.ts";
import { Histogram, type Metric, type Sample, single } from "../status/metrics-text.ts";
import type { DriftEntry } from "./drift.ts";
import { causeOf } from "./drift-cause.ts";

/** Upper bounds of the buckets in seconds: a route takes less than a millisecond, 5,000 peers some hundred. */
const BUCKETS_SECONDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5];

export class AgentMetrics {
  readonly #durations = new Histogram(BUCKETS_SECONDS);
  readonly #operations = new Map<string, Sample & { value: number }>();
  readonly #repairs = new Map<string, Sample & { value: number }>();
  #passes = 0;

  countRepairs(entries: readonly DriftEntry[]): void {
    for (const { kind, by } of entries) addOne(this.#repairs, { kind, by: causeOf(by) });
  }

  count({ tookMs, tried, done }: Pass): void {
    this.#passes++;
    this.#durations.observe(tookMs / 1_000);
    if (tried.length === 0) return;
    const succeeded = new Set(done.map(({ object }) => object));
    for (const { action, object } of tried) {
      const result = succeeded.has(object) ? "success" : "failure";
      addOne(this.#operations, { kind: object.kind, action, result });
    }
  }

  get metrics(): Metric[] {
    return [
      single("counter", "flannel_reconcile_passes_total", "Passes of the reconciler.", this.#passes),
      {
        ...{ name: "flannel_reconcile_duration_seconds", type: "histogram" },
        help: "Time that passes of the reconciler took.",
        samples: this.#durations.samples,
      },
      {
        ...{ name: "flannel_kernel_operations_total", type: "counter" },
        help: "Objects that were created, replaced or removed, by kind of object and result.",
        samples: [...this.#operations.values()],
      },
      {
        ...{ name: "flannel_drift_repairs_total", type: "counter" },
        help: "Repairs of what something else had changed, by kind of object (firewall included) and by program.",
        samples: [...this.#repairs.values()],
      },
    ];
  }
}

function addOne(
  samples: Map<string, Sample & { value: number }>,
  labels: Readonly<Record<string, string>>,
): void {
  const key = Object.values(labels).join(" ");
  const sample = samples.get(key);
  if (sample !== undefined) sample.value++;
  else samples.set(key, { labels, value: 1 });
}
