/**
 * Whether this host is ready, and if not, why: each part of the agent reports its problems. A host that was ready can
 * become unready again (W36).
 */

import { WakeSignal } from "../base/wake-signal.ts";

type Probe = () => readonly string[];

export class Readiness {
  readonly #probes = new Map<string, Probe>();
  readonly #notes: Probe[] = [];
  readonly #readers: (() => void)[] = [];
  readonly #wake = new WakeSignal();

  /** Sets the problem of one subject; undefined = none. */
  set(subject: string, problem: string | undefined): void {
    this.watch(subject, () => (problem === undefined ? [] : [problem]));
    this.changed();
  }

  /** Asks `probe` for the problems of one subject whenever readiness is read. */
  watch(subject: string, probe: Probe): void {
    this.#probes.set(subject, probe);
  }

  /** Asks `probe`, whenever readiness is read, for what an operator should know although the host is ready. */
  addNotes(probe: Probe): void {
    this.#notes.push(probe);
  }

  /** What is not in order although it does not make the host unready, one line each. */
  get notes(): string[] {
    return this.#notes.flatMap((probe) => probe());
  }

  /** To be called when the answer of a probe may have changed. */
  changed(): void {
    this.#wake.wake();
    for (const reader of this.#readers) reader();
  }

  /** Calls `reader` whenever the answer of a probe may have changed. */
  subscribe(reader: () => void): void {
    this.#readers.push(reader);
  }

  /** Why the host is not ready, one line each; empty = ready. */
  get reasons(): string[] {
    return [...this.#probes].flatMap(([subject, probe]) =>
      probe().map((problem) => `${subject}: ${problem}`),
    );
  }

  /** Resolves when the host is ready, or when aborted. */
  async whenReady(signal: AbortSignal): Promise<void> {
    while (this.reasons.length > 0 && !signal.aborted) await this.#wake.wait({ signal });
  }
}
