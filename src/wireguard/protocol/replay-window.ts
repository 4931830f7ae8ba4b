/**
 * Which counters of a session have been received (RFC 6479; wireguard.com/papers/wireguard.pdf, §5.4.6): each once, and
 * none that is more than 8,192 behind the highest one, as the kernel's (drivers/net/wireguard/receive.c, counter_validate).
 */

/** Counters that may arrive late. */
const WINDOW = 8192;
const WORD_BITS = 32;
/** One word more than the window, so that the newest word can be partly filled. */
const WORDS = WINDOW / WORD_BITS + 1;

export class ReplayWindow {
  readonly #words = new Int32Array(WORDS);
  /** One above the highest counter received. */
  #next = 0;

  /** Notes a counter (below 2^53); false = it was received before, or is too old to tell. */
  accept(counter: number): boolean {
    const word = Math.floor(counter / WORD_BITS);
    if (counter >= this.#next) {
      const newest = Math.floor((this.#next - 1) / WORD_BITS);
      const fresh = Math.min(word - newest, WORDS);
      for (let step = 1; step <= fresh; step++) this.#words[(newest + step) % WORDS] = 0;
      this.#next = counter + 1;
    } else if (this.#next - 1 - counter > WINDOW - 1) return false;
    const at = word % WORDS;
    const bit = 1 << (counter % WORD_BITS);
    if ((this.#words[at]! & bit) !== 0) return false;
    this.#words[at] = this.#words[at]! | bit;
    return true;
  }
}
