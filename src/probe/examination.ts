/**
 * The examination of one peer: a new one, one that did not answer, or one with a fault. Counts what is lost and answered on each
 * path until the state of both is certain, and searches for the largest packet if only large ones are lost.
 */

import { type Bisection, continueBisection, nextSize, startBisection } from "./bisection.ts";
import { OVERLAY, type Path, UNDERLAY } from "./path.ts";

/** Probes in a row that have to be lost, over at least so long, before a path counts as silent. */
const LOSSES = 5;
const SILENT_MS = 900;
/** A host that has just acquired its lease may not have programmed its peers yet. */
const NEW_SILENT_MS = 5_000;
/** Answers in a row that end a fault. */
const RECOVERY_ANSWERS = 2;
/** Full-size packets that have to be lost while small ones pass. */
const FULL_SIZE_LOSSES = 4;
const RETRY_MS = 100;
const FAULT_INTERVAL_MS = 1_000;
/** How long the answer about a protocol other than ICMP is valid. */
const OTHERWISE_MS = 30_000;

/** Sizes in bytes of whole IP packets. */
interface Sizes {
  readonly small: number;
  readonly underlay: number;
  readonly overlay: number;
}

/** A probe to send now; the size in bytes of the whole IP packet. */
export interface ProbeOrder {
  readonly path: Path;
  readonly sizeBytes: number;
}

interface PathRecord {
  losses: number;
  firstLossMs: number;
  answersInRow: number;
  hasPassedFullSize: boolean;
  fullSizeLosses: number;
  bisection: Bisection | undefined;
}

const emptyRecord = (): PathRecord => ({
  ...{ losses: 0, firstLossMs: 0, answersInRow: 0 },
  ...{ hasPassedFullSize: false, fullSizeLosses: 0, bisection: undefined },
});

/** All peers with a fault are probed in one wake: each wake costs more than the packets. */
const nextInterval = (nowMs: number): number =>
  (Math.floor(nowMs / FAULT_INTERVAL_MS) + 1) * FAULT_INTERVAL_MS;

/** The examination of one peer, from its reason until nothing is in doubt. Times are monotonic. */
export class Examination {
  /** When to probe next. */
  nextMs: number;
  /** Whether a fault is reported. */
  isFaulty = false;
  /** When the peer itself was heard through the overlay. */
  heardMs = Number.NEGATIVE_INFINITY;
  readonly #reason: "new" | "suspect";
  readonly #records: readonly [PathRecord, PathRecord] = [emptyRecord(), emptyRecord()];
  #steps = 0;
  #otherwise: "unknown" | "asking" | "answers" | "silent" = "unknown";
  #askedMs = Number.NEGATIVE_INFINITY;

  constructor(nowMs: number, reason: "new" | "suspect") {
    this.nextMs = nowMs;
    this.#reason = reason;
  }

  /** What to send now. */
  nextProbes(nowMs: number, hasOverlay: boolean, sizes: Sizes): ProbeOrder[] {
    const underlay = this.#records[UNDERLAY];
    const overlay = this.#records[OVERLAY];
    const orders: ProbeOrder[] = [];
    if (hasOverlay) orders.push({ path: OVERLAY, sizeBytes: sizes.small });
    if (!hasOverlay || overlay.losses > 0 || underlay.losses > 0)
      orders.push({ path: UNDERLAY, sizeBytes: sizes.small });
    if (hasOverlay && overlay.answersInRow > 0 && overlay.losses === 0) {
      const size = this.#sizeToTry(overlay, sizes.small, sizes.overlay);
      if (size !== undefined) orders.push({ path: OVERLAY, sizeBytes: size });
      if (overlay.bisection !== undefined && underlay.answersInRow > 0 && !underlay.hasPassedFullSize) {
        const other = this.#sizeToTry(underlay, sizes.small, sizes.underlay);
        if (other !== undefined) orders.push({ path: UNDERLAY, sizeBytes: other });
      } else if (overlay.bisection !== undefined && underlay.answersInRow === 0) {
        orders.push({ path: UNDERLAY, sizeBytes: sizes.small });
      }
    }
    const isPatient = this.#reason === "new" && this.#steps > 3 && overlay.answersInRow === 0;
    this.nextMs = this.isSettled || isPatient ? nextInterval(nowMs) : nowMs + RETRY_MS;
    this.#steps++;
    return orders;
  }

  /** Whether a fault is certain, and only its end is waited for. */
  get isSettled(): boolean {
    if (!this.isFaulty || this.#isMeasuring) return false;
    return this.#records.every(({ answersInRow }) => answersInRow === 0 || answersInRow >= RECOVERY_ANSWERS);
  }

  onAnswer(path: Path, sizeBytes: number, small: number, full: number, nowMs: number): void {
    const record = this.#records[path];
    record.losses = 0;
    record.answersInRow++;
    if (this.isFaulty && record.answersInRow < RECOVERY_ANSWERS) this.nextMs = nowMs;
    if (sizeBytes <= small) {
      if (this.#wantsFullSize(path)) this.nextMs = nowMs;
      return;
    }
    if (sizeBytes >= full) {
      record.hasPassedFullSize = true;
      record.fullSizeLosses = 0;
      record.bisection = undefined;
    } else if (record.bisection !== undefined) {
      record.bisection = continueBisection(record.bisection, sizeBytes, true);
      this.nextMs = nowMs;
    }
  }

  onLost(path: Path, sizeBytes: number, small: number, full: number, sentMs: number): void {
    const record = this.#records[path];
    if (sizeBytes <= small) {
      if (record.losses === 0) record.firstLossMs = sentMs;
      record.losses++;
      record.answersInRow = 0;
    } else if (sizeBytes >= full) {
      record.fullSizeLosses++;
      if (record.fullSizeLosses >= FULL_SIZE_LOSSES && record.answersInRow > 0)
        record.bisection ??= startBisection(small, full);
    } else if (record.bisection !== undefined) {
      record.bisection = continueBisection(record.bisection, sizeBytes, false);
    }
  }

  /** What is certain about a path; undefined = nothing yet. */
  stateOf(path: Path, nowMs: number, isNew: boolean): "up" | "silent" | undefined {
    const { losses, firstLossMs, answersInRow } = this.#records[path];
    if (answersInRow >= (this.isFaulty ? RECOVERY_ANSWERS : 1)) return "up";
    const waitMs = isNew ? NEW_SILENT_MS : SILENT_MS;
    return losses >= LOSSES && nowMs - firstLossMs >= waitMs ? "silent" : undefined;
  }

  /** The largest packet, as far as it was measured; full size included. */
  largestOf(path: Path, full: number): number | undefined {
    const { bisection, hasPassedFullSize } = this.#records[path];
    if (hasPassedFullSize) return full;
    return bisection !== undefined && nextSize(bisection) === undefined ? bisection.passed : undefined;
  }

  /** Whether it is certain that packets of the full size do not pass. */
  get isTooLarge(): boolean {
    const { bisection } = this.#records[OVERLAY];
    return bisection !== undefined && nextSize(bisection) === undefined;
  }

  /** Whether the next probes will say more about a fault. */
  isUnsettled(nowMs: number): boolean {
    return (this.isFaulty && this.#isInDoubt(OVERLAY, nowMs)) || this.#isInDoubt(UNDERLAY, nowMs);
  }

  /** Whether a path may be silent, or may have recovered. */
  #isInDoubt(path: Path, nowMs: number): boolean {
    const { losses, answersInRow } = this.#records[path];
    if (this.isFaulty && answersInRow > 0) return answersInRow < RECOVERY_ANSWERS;
    if (losses === 0) return false;
    if (this.stateOf(path, nowMs, false) !== "silent") return true;
    return path === UNDERLAY && (this.#otherwise === "unknown" || this.#otherwise === "asking");
  }

  /** Whether nothing is in doubt; only meaningful while the verdict is no fault. */
  isFinished(hasOverlay: boolean, nowMs: number): boolean {
    const underlay = this.#records[UNDERLAY];
    const overlay = this.#records[OVERLAY];
    const isSettled = ({ losses, firstLossMs }: PathRecord): boolean =>
      losses === 0 || (losses >= LOSSES && nowMs - firstLossMs >= SILENT_MS);
    if (!isSettled(underlay)) return false;
    if (!hasOverlay) return true;
    if (overlay.losses > 0) return isSettled(overlay);
    return overlay.answersInRow > 0 && overlay.bisection === undefined && !this.#wantsFullSize(OVERLAY);
  }

  /** Whether the host answers a protocol other than ICMP; tests again when the result is old. */
  otherwise(nowMs: number, ask: () => Promise<boolean> | undefined): "unknown" | "answers" | "silent" {
    if (this.#otherwise !== "asking" && nowMs - this.#askedMs >= OTHERWISE_MS) {
      const answer = ask();
      if (answer === undefined) return this.#otherwise; // too many at once: with the next loss
      this.#askedMs = nowMs;
      if (this.#otherwise === "unknown") this.#otherwise = "asking";
      void answer.then((isAnswered) => {
        this.#otherwise = isAnswered ? "answers" : "silent";
      });
    }
    return this.#otherwise === "asking" ? "unknown" : this.#otherwise;
  }

  get #isMeasuring(): boolean {
    return this.#records.some(
      ({ bisection }) => bisection !== undefined && nextSize(bisection) !== undefined,
    );
  }

  #wantsFullSize(path: Path): boolean {
    const { hasPassedFullSize, fullSizeLosses, bisection } = this.#records[path];
    if (path === UNDERLAY || hasPassedFullSize || bisection !== undefined) return false;
    return fullSizeLosses > 0;
  }

  /** While a search lasts its size, otherwise the full one as long as that has not passed. */
  #sizeToTry({ bisection, hasPassedFullSize }: PathRecord, small: number, full: number): number | undefined {
    if (full <= small || hasPassedFullSize) return undefined;
    return (
      (bisection && nextSize(bisection)) ??
      (bisection !== undefined || this.#hasLostFullSize ? full : undefined)
    );
  }

  get #hasLostFullSize(): boolean {
    return this.#records[OVERLAY].fullSizeLosses > 0;
  }
}
