/**
 * HTTP headers for Connect's gRPC client, which uses the web's `Headers`. In Node.js that class comes with all of fetch
 * (undici): 25 ms and some megabytes of a start that sends no request with fetch. The build replaces `Headers` in the
 * bundles by this one (scripts/bundle.ts). It is the part of the Fetch standard (§5.1) that a client of HTTP/2 needs;
 * names and values are checked by node:http2 when they are sent.
 */

type Init = Iterable<readonly [name: string, value: string]> | Readonly<Record<string, string>>;

class PlainHeaders {
  readonly #values = new Map<string, string>();

  constructor(init: Init = {}) {
    const entries =
      Symbol.iterator in init ? (init as Iterable<readonly [string, string]>) : Object.entries(init);
    for (const [name, value] of entries) this.append(name, value);
  }

  append(name: string, value: string): void {
    const before = this.get(name);
    this.set(name, before === null ? value : `${before}, ${value}`);
  }

  delete(name: string): void {
    this.#values.delete(name.toLowerCase());
  }

  get(name: string): string | null {
    return this.#values.get(name.toLowerCase()) ?? null;
  }

  has(name: string): boolean {
    return this.#values.has(name.toLowerCase());
  }

  set(name: string, value: string): void {
    this.#values.set(name.toLowerCase(), String(value).trim());
  }

  forEach(callback: (value: string, name: string, headers: PlainHeaders) => void): void {
    for (const [name, value] of this) callback(value, name, this);
  }

  /** In the order of names, as the standard has it. */
  *[Symbol.iterator](): Generator<[name: string, value: string]> {
    for (const entry of [...this.#values].sort(([a], [b]) => (a < b ? -1 : 1))) yield entry;
  }

  entries(): Generator<[name: string, value: string]> {
    return this[Symbol.iterator]();
  }
}

export { PlainHeaders as Headers };
