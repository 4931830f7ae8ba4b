/** Counts requests by operation and result, and how long they took. The caller bounds the names. */

import { Histogram, type Metric, type Sample } from "./metrics-text.ts";

/** Upper bounds of the buckets in seconds: a datastore nearby answers within milliseconds, one that fails in seconds. */
const BUCKETS_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];

/** Counters and histograms of requests, since startup. */
export class RequestMetrics {
  readonly #results = new Map<string, Sample & { value: number }>();
  readonly #durations = new Map<string, Histogram>();

  /** Records one request that has ended, in ms. */
  count(operation: string, result: string, tookMs: number): void {
    const key = `${operation} ${result}`;
    const sample = this.#results.get(key);
    if (sample !== undefined) sample.value++;
    else this.#results.set(key, { labels: { operation, result }, value: 1 });
    this.#durations
      .getOrInsertComputed(operation, () => new Histogram(BUCKETS_SECONDS))
      .observe(tookMs / 1_000);
  }

  get metrics(): Metric[] {
    return [
      {
        ...{ name: "flannel_datastore_requests_total", type: "counter" },
        help: "Requests to the datastore that have ended, by operation and result; watches are not among them.",
        samples: [...this.#results.values()],
      },
      {
        ...{ name: "flannel_datastore_request_duration_seconds", type: "histogram" },
        help: "Time that requests to the datastore took, retries inside the client included.",
        samples: [...this.#durations].flatMap(([operation, histogram]) => histogram.samplesOf({ operation })),
      },
    ];
  }
}
