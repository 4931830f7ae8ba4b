/** The findings of all places of a host: which there are now, and each logged once when it appears and once when it is gone. */

import type { Logger } from "../base/logger.ts";
import type { FirewallPlan } from "./iptables-plan.ts";
import type { Place } from "./place.ts";

/** The current findings by place, and which of them the log has. */
export class FindingLog {
  readonly #logger: Logger;
  readonly #places = new Map<string, Pick<FirewallPlan, "findings" | "watched">>();
  readonly #reported = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** One line each, with the remedy. */
  get lines(): readonly string[] {
    return [...new Set([...this.#places.values()].flatMap(({ findings }) => findings))];
  }

  /** Whether one is of the tables of iptables-legacy. */
  get hasLegacy(): boolean {
    return [...this.#places].some(([name, { findings }]) => findings.length > 0 && name.includes("legacy"));
  }

  isWatched(chain: string): boolean {
    return [...this.#places.values()].some(({ watched }) => watched.has(chain));
  }

  /** Replaces what is known of a place. */
  note({ name }: Place, plan: FirewallPlan): void {
    this.#places.set(name, plan);
  }

  clear(): void {
    this.#places.clear();
  }

  /** Logs what has changed since the last call. */
  report(): void {
    const { lines } = this;
    for (const finding of lines) {
      if (!this.#reported.has(finding)) this.#logger.warn(finding);
      this.#reported.add(finding);
    }
    for (const finding of this.#reported) {
      if (lines.includes(finding)) continue;
      this.#reported.delete(finding);
      this.#logger.info(`Firewall problem resolved: ${finding}`);
    }
  }
}
