/**
 * Reads selected parts of a JSON text (RFC 8259) from its bytes, and skips the rest without building objects.
 * Kubernetes sends thousands of nodes of some 8 KB, again with each heartbeat; a lease needs some 300 bytes of each.
 *
 * Skipped text is scanned only for its end: a truncated text is noticed, a malformed number in it is not.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;

/** The text is not JSON, or truncated. */
export class JsonFault extends Error {}

/** A cursor over one JSON text. Throws JsonFault, with the offset, where the text is malformed. */
export class JsonReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#at = 0;
  }

  /**
   * Calls `member` with the name of each member of the object that is here; it has to read the value, or to skip it.
   * Anything but an object is skipped. Throws JsonFault, like all that reads.
   */
  object(member: (name: string) => void): void {
    if (this.#next() !== OPEN_BRACE) {
      this.skip();
      return;
    }
    this.#at++;
    if (this.#next() === CLOSE_BRACE) {
      this.#at++;
      return;
    }
    for (;;) {
      const name = this.string();
      if (name === undefined || this.#next() !== COLON) throw new JsonFault();
      this.#at++;
      member(name);
      if (!this.#goesOn(CLOSE_BRACE)) return;
    }
  }

  /** Calls `element` at each element of the array that is here; it has to read or skip it. Anything else is skipped. */
  array(element: () => void): void {
    if (this.#next() !== OPEN_BRACKET) {
      this.skip();
      return;
    }
    this.#at++;
    if (this.#next() === CLOSE_BRACKET) {
      this.#at++;
      return;
    }
    do element();
    while (this.#goesOn(CLOSE_BRACKET));
  }

  /** The string that is here; undefined = it is something else, which was skipped. */
  string(): string | undefined {
    if (this.#next() !== QUOTE) {
      this.skip();
      return undefined;
    }
    const start = this.#at;
    const isPlain = this.#passString();
    if (isPlain) return this.#bytes.toString("latin1", start + 1, this.#at - 1);
    return parse(this.#bytes.toString("utf8", start, this.#at)) as string;
  }

  /** Whatever is here, as JSON.parse makes it. */
  value(): unknown {
    this.#next();
    const start = this.#at;
    this.skip();
    return parse(this.#bytes.toString("utf8", start, this.#at));
  }

  /** Skips the value at the cursor. */
  skip(): void {
    const bytes = this.#bytes;
    const first = this.#next();
    if (first === QUOTE) {
      this.#passString();
    } else if (first === OPEN_BRACE || first === OPEN_BRACKET) {
      let depth = 0;
      do {
        const byte = bytes[this.#at];
        if (byte === QUOTE) {
          this.#passString();
          continue;
        }
        if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
        else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
        else if (byte === undefined) throw new JsonFault();
        this.#at++;
      } while (depth > 0);
    } else {
      const start = this.#at;
      while (isScalar(bytes[this.#at])) this.#at++;
      if (this.#at === start) throw new JsonFault();
    }
  }

  /** Throws unless all has been read. */
  end(): void {
    if (this.#next() !== undefined) throw new JsonFault();
  }

  /** Steps over a comma (true) or the end (false). */
  #goesOn(end: number): boolean {
    const byte = this.#next();
    if (byte !== COMMA && byte !== end) throw new JsonFault();
    this.#at++;
    return byte === COMMA;
  }

  /** The next byte that is no white space; undefined = the end. */
  #next(): number | undefined {
    const bytes = this.#bytes;
    while (bytes[this.#at]! <= SPACE) this.#at++;
    return bytes[this.#at];
  }

  /** True = neither escapes nor anything beyond ASCII. */
  #passString(): boolean {
    const bytes = this.#bytes;
    let isPlain = true;
    for (let at = this.#at + 1; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (byte === QUOTE) {
        this.#at = at + 1;
        return isPlain;
      }
      if (byte === BACKSLASH) {
        isPlain = false;
        at++;
      } else if (byte < SPACE || byte > 0x7e) isPlain = false;
    }
    throw new JsonFault();
  }
}

/** Part of a number, true, false or null. */
const isScalar = (byte: number | undefined): boolean =>
  byte !== undefined && byte > SPACE && byte !== COMMA && byte !== CLOSE_BRACE && byte !== CLOSE_BRACKET;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new JsonFault();
  }
}
