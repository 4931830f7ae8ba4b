/**
 * The drift ledger: repairs of changes that other programs made to flanneld's objects. It shows that “NetworkManager removes my routes”,
 * is bounded so that an endless conflict costs no memory, and is logged once per burst.
 */

import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import { describeObject, keyOf } from "../state/objects.ts";
import type { Repair } from "../state/reconciler.ts";

/** One repair. */
export interface DriftEntry {
  /** Wall-clock time of the repair, ISO 8601. */
  readonly at: string;
  /** "link", "address", "route", "neighbour", "fdb", "firewall". */
  readonly kind: string;
  /** "route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink (missing)". */
  readonly what: string;
  /** From the first notice of the loss until it was repaired, in ms; failed attempts included. */
  readonly tookMs: number;
  /** Who changed it: "NetworkManager (pid 812)"; undefined = the kernel does not say. */
  readonly by: string | undefined;
}

/** Entries by kind, since startup. */
export type DriftCounts = Readonly<Record<string, number>>;

/** Entries kept; the oldest go first. */
const CAPACITY = 1_000;
/** Repairs within this time of the first are one burst. */
const BURST_MS = 10_000;
const NAMED = 3;

export class DriftLedger implements Disposable {
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #wallClockMs: () => number;
  readonly #capacity: number;
  readonly #counts = new Map<string, number>();
  #entries: DriftEntry[] = [];
  /** Called with what was recorded. */
  onRecord: (entries: readonly DriftEntry[]) => void = () => {};
  /** Entries of the current burst that are not logged yet; undefined = no burst. */
  #unlogged: DriftEntry[] | undefined;
  #cancelBurst = () => {};

  constructor(ports: {
    readonly logger: Logger;
    readonly timers: Timers;
    readonly wallClockMs: () => number;
    readonly capacity?: number;
  }) {
    this.#logger = ports.logger;
    this.#timers = ports.timers;
    this.#wallClockMs = ports.wallClockMs;
    this.#capacity = ports.capacity ?? CAPACITY;
  }

  /** Oldest first. */
  get entries(): readonly DriftEntry[] {
    return this.#entries;
  }

  get counts(): DriftCounts {
    return Object.fromEntries(this.#counts);
  }

  /** Records what was repaired in one pass. */
  record(repaired: readonly Omit<DriftEntry, "at">[]): void {
    if (repaired.length === 0) return;
    const at = new Date(this.#wallClockMs()).toISOString();
    const entries = repaired.map((entry) => ({ at, ...entry }));
    for (const { kind } of entries) this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    this.#entries = [...this.#entries, ...entries].slice(-this.#capacity);
    this.onRecord(entries);
    if (this.#unlogged !== undefined) {
      this.#unlogged.push(...entries);
      return;
    }
    const tookMs = Math.max(...entries.map((entry) => entry.tookMs));
    const more = entries.length > NAMED ? ` and ${entries.length - NAMED} more` : "";
    const named = entries.slice(0, NAMED).map(({ what }) => what);
    this.#logger.warn(
      `Repaired drift in ${tookMs.toFixed(1)} ms: ${named.join("; ")}${more}${blame(entries)}`,
    );
    this.#openBurst();
  }

  /** For the status server. */
  toJSON(): { readonly counts: DriftCounts; readonly entries: readonly DriftEntry[] } {
    return { counts: this.counts, entries: this.entries };
  }

  /** Ends the current burst without logging it. */
  [Symbol.dispose](): void {
    this.#cancelBurst();
  }

  #openBurst(): void {
    this.#unlogged = [];
    this.#cancelBurst = this.#timers.after(BURST_MS, () => {
      const entries = this.#unlogged!;
      this.#unlogged = undefined;
      if (entries.length === 0) return;
      const kinds = [...Map.groupBy(entries, ({ kind }) => kind)].map(
        ([kind, { length }]) => `${length} ${kind}`,
      );
      this.#logger.warn(
        `Drift continues; repaired in the last ${BURST_MS / 1000} s: ${kinds.join(", ")}${blame(entries)}`,
      );
      this.#openBurst();
    });
  }
}

/** Entries for what the reconciler repaired; `nameOf` returns the process behind a netlink socket's port id. */
export function driftOf(
  { operations, tookMs, portIds }: Repair,
  nameOf: (portId: number) => string | undefined,
): Omit<DriftEntry, "at">[] {
  const names = new Map([...new Set(portIds.values())].map((portId) => [portId, nameOf(portId)]));
  return operations.map(({ action, object }) => ({
    kind: object.kind,
    what: `${describeObject(object)} (${FINDINGS[action]})`,
    tookMs: tookMs.get(keyOf(object)) ?? 0,
    by: names.get(portIds.get(keyOf(object)) ?? 0),
  }));
}

const FINDINGS = { create: "missing", replace: "changed", remove: "not desired" } as const;

function blame(entries: readonly DriftEntry[]): string {
  const names = new Set(entries.flatMap(({ by }) => (by === undefined ? [] : [by])));
  return names.size === 0 ? "" : `; changed by ${[...names].slice(0, NAMED).join(", ")}`;
}
