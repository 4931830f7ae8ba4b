/**
 * When a device is under load (wireguard.com/papers/wireguard.pdf, §5.3): more handshake messages than its budget allows. A
 * thousand peers that start together fit into it; a flood of strangers does not. Then messages need a cookie, and those with
 * one are limited for each source (as the kernel's ratelimiter.c: 20 a second, 5 at once).
 */

const BURST = 2500;
const PER_SECOND = 500;
/** How long a device stays under load. */
const LOAD_MS = 1_000;
const SOURCE_PER_SECOND = 20;
const SOURCE_BURST = 5;
/** Sources that are remembered; more at once share the last place. */
const MOST_SOURCES = 4096;

interface Bucket {
  tokens: number;
  atMs: number;
}

export class LoadLimit {
  readonly #all: Bucket = { tokens: BURST, atMs: 0 };
  readonly #sources = new Map<string, Bucket>();
  #loadUntilMs = Number.NEGATIVE_INFINITY;

  /** Counts a handshake message; whether the device is under load. */
  isUnderLoad(nowMs: number): boolean {
    if (!take(this.#all, PER_SECOND, BURST, nowMs)) this.#loadUntilMs = nowMs + LOAD_MS;
    return nowMs < this.#loadUntilMs;
  }

  /** Counts a message with a cookie; whether its source may have it handled. */
  isAllowed(source: Uint8Array, nowMs: number): boolean {
    const key = source.join();
    let bucket = this.#sources.get(key);
    if (bucket === undefined) {
      if (this.#sources.size >= MOST_SOURCES) this.#sources.clear();
      bucket = { tokens: SOURCE_BURST, atMs: nowMs };
      this.#sources.set(key, bucket);
    }
    return take(bucket, SOURCE_PER_SECOND, SOURCE_BURST, nowMs);
  }
}

function take(bucket: Bucket, perSecond: number, burst: number, nowMs: number): boolean {
  bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1000);
  bucket.atMs = nowMs;
  if (bucket.tokens < 1) return false;
  bucket.tokens--;
  return true;
}
