/**
 * Probes peers: decides whom to probe next, takes the answers, and says what they mean. Knows no sockets and no clock; time
 * is monotonic, in milliseconds. A peer without trouble costs no object, only its place in the arrays.
 */

import { type AddressBytes, formatIp } from "../address/ip.ts";
import { Examination } from "./examination.ts";
import { InFlight, type SentProbe } from "./in-flight.ts";
import { OVERLAY, type Path, type PathState, UNDERLAY } from "./path.ts";
import type { ProbePorts, TargetReport } from "./ports.ts";
import { Budget, batchMs, probesPerSecond } from "./schedule.ts";
import { type ProbeTarget, TargetTable } from "./target-table.ts";
import { adviceFor, isFault, type Verdict, verdictOf } from "./verdict.ts";

/** Bounds of the time for which an answer is waited. */
const TIMEOUT_MS = { least: 200, most: 1_000 } as const;
const TICK_MS = 100;
const LONGEST_WAIT_MS = 1_000;
/** Largest IP packet that is sent: the buffer's size. */
const MOST_BYTES = 9_000;
/** Every so many rounds, a peer is probed also beside the tunnel, or with a packet of the full size. */
const UNDERLAY_ROUNDS = 10;
const FULL_SIZE_ROUNDS = 4;
/** Share of the interval by which a peer is probed later, at random. */
const JITTER = 0.1;
/** Share of the budget that peers in trouble may have while others wait. */
const URGENT_SHARE = 0.75;
/** A peer that was heard so lately sends through the overlay. */
const HEARD_MS = 10_000;

/** Probes all peers of a host. The caller calls {@link ProbeEngine.tick} when it is due, and passes on what is received. */
export class ProbeEngine {
  readonly #ports: ProbePorts;
  readonly #intervalMs: number;
  readonly #table = new TargetTable();
  readonly #inFlight = new InFlight();
  readonly #budget: Budget;
  /** Peers that get more attention than the round-robin gives, the one that waited longest first. */
  readonly #examinations = new Map<number, Examination>();
  #sent = 0;

  constructor(ports: ProbePorts, intervalMs: number, nowMs: number) {
    this.#ports = ports;
    this.#intervalMs = intervalMs;
    this.#budget = new Budget(nowMs);
  }

  /** Probes sent since startup. */
  get sent(): number {
    return this.#sent;
  }

  /** Adds a target, to be probed at once, and returns its slot. */
  add(target: ProbeTarget, nowMs: number): number {
    const slot = this.#table.add(target);
    this.#table.setLastMs(slot, nowMs);
    this.#examinations.set(slot, new Examination(nowMs, "new"));
    return slot;
  }

  remove(slot: number): void {
    const target = this.#table.get(slot)!;
    const before = this.verdict(slot);
    this.#table.remove(slot);
    this.#examinations.delete(slot);
    this.#inFlight.forget(slot);
    if (isFault(before)) this.#ports.onVerdict({ slot, target, before, verdict: "unknown" });
  }

  verdict(slot: number): Verdict {
    return this.#table.verdictOf(slot);
  }

  report(slot: number): TargetReport | undefined {
    const target = this.#table.get(slot);
    if (target === undefined) return undefined;
    const verdict = this.verdict(slot);
    const { mtuBytes, listener, ownAddress } = this.#ports.context();
    const advice = adviceFor({
      ...{ verdict, listener, mtuBytes, own: ownAddress(target.family), peer: formatIp(target.underlay) },
      overlayBytes: this.#table.largestOf(slot, OVERLAY),
      underlayBytes: this.#table.largestOf(slot, UNDERLAY),
    });
    return {
      target,
      verdict,
      advice,
      underlay: this.#table.report(slot, UNDERLAY),
      overlay: this.#table.report(slot, OVERLAY),
    };
  }

  /** Targets by verdict, and reports of the `count` worst. */
  summary(count: number): { readonly verdicts: Record<Verdict, number>; readonly worst: TargetReport[] } {
    const worst = this.#table.worst(count).map((slot) => this.report(slot)!);
    return { verdicts: this.#table.verdictCounts(), worst };
  }

  /** Sends what is due; returns in how many milliseconds to call again. */
  tick(nowMs: number): number {
    this.#inFlight.expire(nowMs, (probe) => this.#onLost(probe, nowMs));
    const rate = probesPerSecond(this.#table.size);
    this.#budget.refill(nowMs, rate);
    const reserved = this.#isNextDue(nowMs) ? Math.floor(this.#budget.available * (1 - URGENT_SHARE)) : 0;
    const urgent = this.#budget.available - reserved;
    this.#examine(nowMs, urgent);
    while (this.#budget.available > 0 && this.#isNextDue(nowMs)) this.#probeNext(nowMs);
    return this.#waitMs(nowMs);
  }

  /** Takes an echo reply. Ignored: one that is forged, a duplicate, or from another host. */
  onReply(source: AddressBytes, sequence: number, nonce: number, nowMs: number): void {
    const probe = this.#inFlight.find(sequence, nonce);
    if (probe === undefined) return;
    const { slot, path, sizeBytes, sentMs } = probe;
    if (!this.#table.hasAddress(slot, path, source)) return;
    const isInTime = this.#inFlight.take(sequence, nonce);
    if (isInTime) this.#table.windows.recordAnswer(slot, path, nowMs - sentMs);
    const examination = this.#examinations.get(slot);
    const fullBytes = this.#fullBytes(slot, path);
    if (sizeBytes >= fullBytes) this.#table.setLargest(slot, path, sizeBytes);
    if (examination === undefined) this.#table.setState(slot, path, "up", nowMs);
    else examination.onAnswer(path, sizeBytes, this.#table.smallBytes(slot), fullBytes, nowMs);
    this.#conclude(slot, nowMs);
  }

  /** Takes an echo request of a peer that arrived through the overlay. */
  onRequest(source: AddressBytes, nowMs: number): void {
    for (const [slot, examination] of this.#examinations) {
      if (!this.#table.hasAddress(slot, OVERLAY, source)) continue;
      examination.heardMs = nowMs;
      this.#conclude(slot, nowMs);
      return;
    }
  }

  #examine(nowMs: number, budget: number): void {
    let rest = budget;
    for (const [slot, examination] of this.#examinations) {
      if (rest <= 0) return;
      if (nowMs < examination.nextMs) continue;
      this.#examinations.delete(slot); // to the end of the order
      this.#examinations.set(slot, examination);
      const hasOverlay = this.#table.hasOverlay(slot);
      const sizes = {
        small: this.#table.smallBytes(slot),
        underlay: this.#fullBytes(slot, UNDERLAY),
        overlay: this.#fullBytes(slot, OVERLAY),
      };
      for (const { path, sizeBytes } of examination.nextProbes(nowMs, hasOverlay, sizes)) {
        this.#send(slot, path, sizeBytes, nowMs);
        rest--;
      }
    }
  }

  #isNextDue(nowMs: number): boolean {
    return nowMs >= this.#nextDueMs();
  }

  /** Until the next call. Each wake costs more than the packets: what is in no doubt leaves in batches. */
  #waitMs(nowMs: number): number {
    const leastMs = batchMs(this.#table.size);
    let dueMs = this.#nextDueMs();
    for (const { isSettled, nextMs } of this.#examinations.values()) {
      if (!isSettled && (!this.#inFlight.isEmpty || nextMs <= nowMs + TICK_MS)) return TICK_MS;
      dueMs = Math.min(dueMs, nextMs);
    }
    return this.#inFlight.isEmpty ? Math.min(LONGEST_WAIT_MS, Math.max(leastMs, dueMs - nowMs)) : leastMs;
  }

  /** When the turn of the next peer comes that is not examined anyway; infinite if there is none. */
  #nextDueMs(): number {
    const slot = this.#turn();
    return slot === undefined ? Number.POSITIVE_INFINITY : this.#table.lastMs(slot) + this.#intervalMs;
  }

  #turn(): number | undefined {
    return this.#table.turn((slot) => this.#examinations.has(slot));
  }

  /** The healthy peer whose turn it is. */
  #probeNext(nowMs: number): void {
    const slot = this.#turn()!;
    this.#table.endTurn();
    const round = this.#table.nextRound(slot);
    // Jitter: hosts that started together do not stay in step.
    this.#table.setLastMs(slot, nowMs + ((this.#ports.random() & 0xff) / 256) * JITTER * this.#intervalMs);
    const hasOverlay = this.#table.hasOverlay(slot) && this.#table.stateOf(slot, OVERLAY) !== "filtered";
    const isUnderlayDue =
      this.#table.stateOf(slot, UNDERLAY) === "unknown" || (round + slot) % UNDERLAY_ROUNDS === 0;
    if (!hasOverlay || isUnderlayDue) this.#send(slot, UNDERLAY, this.#table.smallBytes(slot), nowMs);
    if (!this.#table.hasOverlay(slot)) return;
    const isFullSize = hasOverlay && round % FULL_SIZE_ROUNDS === 0;
    const sizeBytes = isFullSize ? this.#fullBytes(slot, OVERLAY) : this.#table.smallBytes(slot);
    this.#send(slot, OVERLAY, sizeBytes, nowMs);
  }

  #send(slot: number, path: Path, sizeBytes: number, nowMs: number): void {
    this.#budget.spend();
    const nonce = this.#ports.random();
    const longestMs = this.#table.windows.longest(slot, path);
    const timeoutMs = Math.min(TIMEOUT_MS.most, Math.max(TIMEOUT_MS.least, 4 * longestMs + 50));
    const sequence = this.#inFlight.add({ slot, path, sizeBytes, sentMs: nowMs }, nowMs + timeoutMs, nonce);
    this.#sent++;
    this.#ports.send(this.#table.addressOf(slot, path), sequence, nonce, sizeBytes);
  }

  #onLost({ slot, path, sizeBytes, sentMs }: SentProbe, nowMs: number): void {
    const smallBytes = this.#table.smallBytes(slot);
    let examination = this.#examinations.get(slot);
    // What filters echo requests, or is no bridge yet, keeps doing so: that is no reason to look closer.
    if (examination === undefined && this.#table.stateOf(slot, path) === "filtered") return;
    if (sizeBytes <= smallBytes) this.#table.windows.recordLoss(slot, path);
    if (examination === undefined) {
      examination = new Examination(nowMs, "suspect");
      this.#examinations.set(slot, examination);
    }
    examination.onLost(path, sizeBytes, smallBytes, this.#fullBytes(slot, path), sentMs);
    this.#conclude(slot, nowMs);
  }

  /** Draws the conclusions from an examination, and ends it if all is well. */
  #conclude(slot: number, nowMs: number): void {
    const examination = this.#examinations.get(slot);
    const overlayKnown = this.#table.hasOverlay(slot);
    if (examination !== undefined) {
      const isNew =
        this.#table.stateOf(slot, OVERLAY) === "unknown" && this.#table.stateOf(slot, UNDERLAY) === "unknown";
      for (const path of [UNDERLAY, OVERLAY] as const) {
        const seen = examination.stateOf(path, nowMs, isNew);
        if (seen === "up") this.#table.setState(slot, path, "up", nowMs);
        if (seen === "silent")
          this.#table.setState(slot, path, this.#meaningOfSilence(slot, path, examination, nowMs), nowMs);
        const largest = examination.largestOf(path, this.#fullBytes(slot, path));
        if (largest !== undefined) this.#table.setLargest(slot, path, largest);
      }
      if (this.#table.stateOf(slot, OVERLAY) === "up" && this.#table.stateOf(slot, UNDERLAY) === "down")
        this.#table.setState(slot, UNDERLAY, "filtered", nowMs);
    }
    const { isRefused } = this.#table.get(slot)!;
    const verdict = verdictOf({
      overlay: overlayKnown ? this.#table.stateOf(slot, OVERLAY) : undefined,
      underlay: this.#table.stateOf(slot, UNDERLAY),
      isRefused,
      isTooLarge: examination?.isTooLarge ?? false,
      isHeard: examination !== undefined && nowMs - examination.heardMs < HEARD_MS,
    });
    // Both paths fail and recover together if the network does: one verdict, not two in a row.
    if (isFault(verdict) && overlayKnown && examination?.isUnsettled(nowMs)) return;
    this.#setVerdict(slot, verdict);
    if (examination === undefined) return;
    examination.isFaulty = isFault(verdict);
    if (
      (verdict === "reachable" || isRefused) &&
      !isFault(verdict) &&
      examination.isFinished(overlayKnown, nowMs)
    ) {
      this.#examinations.delete(slot);
      this.#table.setLastMs(slot, nowMs);
    }
  }

  #meaningOfSilence(slot: number, path: Path, examination: Examination, nowMs: number): PathState {
    if (path === OVERLAY) {
      const hasAnswered = this.#table.windows.rtt(slot, OVERLAY) !== undefined;
      return this.#ports.context().hasDeviceAddress || hasAnswered ? "down" : "filtered";
    }
    if (this.#table.stateOf(slot, OVERLAY) === "up") return "filtered";
    const { underlay } = this.#table.get(slot)!;
    const otherwise = examination.otherwise(nowMs, () => this.#ports.answersOtherwise(underlay));
    if (otherwise === "unknown") return this.#table.stateOf(slot, path);
    return otherwise === "answers" ? "filtered" : "down";
  }

  #setVerdict(slot: number, verdict: Verdict): void {
    const before = this.verdict(slot);
    if (verdict === before) return;
    this.#table.setVerdict(slot, verdict);
    this.#ports.onVerdict({ slot, target: this.#table.get(slot)!, before, verdict });
  }

  #fullBytes(slot: number, path: Path): number {
    const { mtuBytes, interfaceMtuBytes } = this.#ports.context();
    const bytes = path === OVERLAY ? mtuBytes : interfaceMtuBytes;
    return Math.max(this.#table.smallBytes(slot) + 1, Math.min(bytes, MOST_BYTES));
  }
}
