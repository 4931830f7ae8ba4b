/**
 * Whether this host is as it should be, and if not, why: each part of the agent has its say, at any time. Readiness
 * that was reached can be lost again (W36).
 */

type Probe = () => readonly string[];

export class Readiness {
  readonly #probes = new Map<string, Probe>();
  readonly #waiters = new Set<() => void>();

  /** Sets what stands in the way in one respect; undefined = nothing. */
  set(subject: string, problem: string | undefined): void {
    this.watch(subject, () => (problem === undefined ? [] : [problem]));
    this.changed();
  }

  /** Asks `probe` whenever readiness is asked for. */
  watch(subject: string, probe: Probe): void {
    this.#probes.set(subject, probe);
  }

  /** To be called when a probe may answer otherwise than before. */
  changed(): void {
    for (const wake of this.#waiters) wake();
  }

  /** What stands in the way, one line each; empty = ready. */
  get reasons(): string[] {
    return [...this.#probes].flatMap(([subject, probe]) =>
      probe().map((problem) => `${subject}: ${problem}`),
    );
  }

  /** Resolves when nothing stands in the way, or when aborted. */
  async whenReady(signal: AbortSignal): Promise<void> {
    while (this.reasons.length > 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiters.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        this.#waiters.add(wake);
        signal.addEventListener("abort", wake, { once: true });
      });
    }
  }
}
