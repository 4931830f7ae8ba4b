/**
 * What a command is doing, on a terminal: one line of stderr, drawn from the second second on and removed before anything else
 * is printed. Without a terminal nothing is written.
 */

const TURN_MS = 1_000;
/** Carriage return; erase the line (ECMA-48, EL). */
const ERASE = "\r\u001B[K";

/** Where it is drawn. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export class Progress {
  readonly #stream: ProgressStream;
  #activity: string | undefined;
  #startedMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isDrawn = false;

  constructor(stream: ProgressStream) {
    this.#stream = stream;
  }

  /** Shows what is being done now, and since when anything is; undefined = nothing. */
  show(activity: string | undefined): void {
    if (this.#stream.isTTY !== true) return;
    this.#activity = activity;
    if (activity === undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.clear();
    } else if (this.#timer === undefined) {
      this.#startedMs = performance.now();
      this.#timer = setInterval(() => this.#draw(), TURN_MS).unref();
    } else if (this.#isDrawn) this.#draw();
  }

  /** Before a line is printed; what is shown appears again. */
  clear(): void {
    if (this.#isDrawn) this.#stream.write(ERASE);
    this.#isDrawn = false;
  }

  #draw(): void {
    const seconds = Math.round((performance.now() - this.#startedMs) / 1000);
    const text = `${this.#activity} (${seconds} s)`;
    this.#stream.write(ERASE + text.slice(0, (this.#stream.columns || 80) - 1));
    this.#isDrawn = true;
  }
}
