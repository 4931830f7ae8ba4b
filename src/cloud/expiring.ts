/**
 * A value that expires, such as a token: fetched when it is first needed, and again a while before it expires. While a fetch
 * fails, the previous value is used to its end.
 */

/** What a fetch gives. `expiresAtMs` is on the clock of {@link Expiring}; undefined = never. */
export interface Expires<T> {
  readonly value: T;
  readonly expiresAtMs: number | undefined;
}

export class Expiring<T> {
  readonly #fetch: (signal: AbortSignal) => Promise<Expires<T>>;
  readonly #nowMs: () => number;
  readonly #marginMs: number;
  #current: Expires<T> | undefined;

  /** Fetches again `marginMs` before the end. `fetch` throws CloudError. */
  constructor(
    fetch: (signal: AbortSignal) => Promise<Expires<T>>,
    { nowMs, marginMs }: { readonly nowMs: () => number; readonly marginMs: number },
  ) {
    this.#fetch = fetch;
    this.#nowMs = nowMs;
    this.#marginMs = marginMs;
  }

  /** Throws what `fetch` throws, if no value is valid. */
  async get(signal: AbortSignal): Promise<T> {
    const current = this.#current;
    if (current !== undefined && this.#remainingMs(current) > this.#marginMs) return current.value;
    try {
      this.#current = await this.#fetch(signal);
      return this.#current.value;
    } catch (error) {
      if (current === undefined || this.#remainingMs(current) <= 0) throw error;
      return current.value;
    }
  }

  /** The current value was refused: the next call fetches another. */
  drop(): void {
    this.#current = undefined;
  }

  #remainingMs({ expiresAtMs }: Expires<T>): number {
    return expiresAtMs === undefined ? Number.POSITIVE_INFINITY : expiresAtMs - this.#nowMs();
  }
}
