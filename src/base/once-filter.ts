/** Tells what is new from what has been said already, so that a repeated failure is logged once per distinct message. */

/** Enough for the causes of one outage; messages that vary without end (a port number in them) must not fill memory. */
const REMEMBERED = 100;

export class OnceFilter {
  readonly #seen = new Set<string>();

  /** Whether `message` comes for the first time since the last {@link reset}, as far as it remembers: the latest 100. */
  isNew(message: string): boolean {
    const isNew = !this.#seen.delete(message);
    this.#seen.add(message);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value!);
    return isNew;
  }

  /** Forgets everything: the trouble is over, and the same one is news when it comes again. */
  reset(): void {
    this.#seen.clear();
  }
}
