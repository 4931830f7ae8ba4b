/** Token buckets in fixed memory: how often something may happen for each of many. */

export class Buckets {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #tokens: Float64Array;
  readonly #atMs: Float64Array;

  constructor(count: number, perSecond: number, burst: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = new Float64Array(count).fill(burst);
    this.#atMs = new Float64Array(count);
  }

  /** Takes a token from a bucket; false = it has none. */
  take(place: number, nowMs: number): boolean {
    const refill = (nowMs - this.#atMs[place]!) * this.#perMs;
    const tokens = Math.min(this.#burst, this.#tokens[place]! + refill);
    this.#atMs[place] = nowMs;
    this.#tokens[place] = tokens < 1 ? tokens : tokens - 1;
    return tokens >= 1;
  }
}
