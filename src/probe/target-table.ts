/** What is known about each peer, in arrays indexed by its slot: thousands of peers cost no object each. */

import { type AddressBytes, type Family, type Ip, ipToBytes } from "../address/ip.ts";
import { SMALL_BYTES } from "./echo.ts";
import { OVERLAY, type Path, type PathState, UNDERLAY } from "./path.ts";
import { isFault, type Verdict } from "./verdict.ts";
import { type RttStatistics, Windows } from "./window.ts";

/** A peer in one family. */
export interface ProbeTarget {
  /** The key of its lease. */
  readonly key: string;
  readonly family: Family;
  /** Its public IP. */
  readonly underlay: Ip;
  /** Its address in its subnet; undefined = no packet can get there, or the backend carries none. */
  readonly overlay: Ip | undefined;
  /** Whether this host routes nothing to its subnet, because its lease is unusable here: then only the underlay is probed. */
  readonly isRefused: boolean;
}

/** What the probes of one path say; undefined = not measured. Round-trip times in milliseconds, the loss from 0 to 1. */
export interface PathReport {
  readonly state: PathState;
  /** Monotonic; undefined = unknown. */
  readonly sinceMs: number | undefined;
  readonly lossRatio: number | undefined;
  readonly rttMs: RttStatistics | undefined;
  readonly largestPacketBytes: number | undefined;
}

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] };

const ADDRESS_BYTES = 16;
const STATES: readonly PathState[] = ["unknown", "up", "down", "filtered"];
const VERDICTS: readonly Verdict[] = [
  ...(["unknown", "reachable", "underlay down", "overlay down"] as const),
  ...(["packets too large", "one direction"] as const),
];

/** All targets. A slot is used again after its target is removed. */
export class TargetTable {
  readonly windows = new Windows();
  readonly #targets: (ProbeTarget | undefined)[] = [];
  readonly #free: number[] = [];
  #cursor = 0;
  #states = new Uint8Array(0);
  #sinceMs = new Float64Array(0);
  #largest = new Uint16Array(0);
  #verdicts = new Uint8Array(0);
  #rounds = new Uint8Array(0);
  #lastMs = new Float64Array(0);
  /** Network byte order; 16 bytes for each path, of which IPv4 uses 4. */
  #addresses = new Uint8Array(0);
  readonly #address: Mutable<AddressBytes> = { family: 4, bytes: this.#addresses, at: 0 };

  /** Targets that are there. */
  get size(): number {
    return this.#targets.length - this.#free.length;
  }

  /** The slot whose turn it is among all, until {@link endTurn}; undefined = all are excluded. */
  turn(isExcluded: (slot: number) => boolean): number | undefined {
    for (let tries = 0; tries < this.#targets.length; tries++) {
      const slot = this.#cursor % this.#targets.length;
      if (this.#targets[slot] !== undefined && !isExcluded(slot)) return slot;
      this.#cursor = slot + 1;
    }
    return undefined;
  }

  endTurn(): void {
    this.#cursor++;
  }

  /** The new target's slot. */
  add(target: ProbeTarget): number {
    const slot = this.#free.pop() ?? this.#targets.length;
    if (slot >= this.#verdicts.length) this.#reserve(Math.max(16, slot * 2));
    this.#targets[slot] = target;
    for (const [path, ip] of [target.underlay, target.overlay].entries())
      if (ip !== undefined) this.#addresses.set(ipToBytes(ip), (slot * 2 + path) * ADDRESS_BYTES);
    this.#rounds[slot] = -1;
    return slot;
  }

  remove(slot: number): void {
    this.#targets[slot] = undefined;
    this.#free.push(slot);
    this.windows.clear(slot);
    this.#states.fill(0, slot * 2, slot * 2 + 2);
    this.#largest.fill(0, slot * 2, slot * 2 + 2);
    this.#verdicts[slot] = 0;
  }

  /** Undefined if the slot is free. */
  get(slot: number): ProbeTarget | undefined {
    return this.#targets[slot];
  }

  /** Valid until the next call. */
  addressOf(slot: number, path: Path): AddressBytes {
    const address = this.#address;
    address.family = this.#targets[slot]!.family;
    address.bytes = this.#addresses;
    address.at = (slot * 2 + path) * ADDRESS_BYTES;
    return address;
  }

  /** Whether a target has this address on the path; false if there is no such target or path. */
  hasAddress(slot: number, path: Path, { family, bytes, at }: AddressBytes): boolean {
    const target = this.#targets[slot];
    if (target?.family !== family || (path === OVERLAY && target.overlay === undefined)) return false;
    const own = (slot * 2 + path) * ADDRESS_BYTES;
    const length = family === 4 ? 4 : 16;
    for (let index = 0; index < length; index++)
      if (this.#addresses[own + index] !== bytes[at + index]) return false;
    return true;
  }

  hasOverlay(slot: number): boolean {
    return this.#targets[slot]?.overlay !== undefined;
  }

  /** Size of a small probe on a path, in bytes of the IP packet. */
  smallBytes(slot: number): number {
    return SMALL_BYTES[this.#targets[slot]!.family];
  }

  /** Counts the rounds of a target, modulo 256. */
  nextRound(slot: number): number {
    const round = (this.#rounds[slot]! + 1) & 0xff;
    this.#rounds[slot] = round;
    return round;
  }

  /** When it was probed last, jitter included. */
  lastMs(slot: number): number {
    return this.#lastMs[slot]!;
  }

  setLastMs(slot: number, ms: number): void {
    this.#lastMs[slot] = ms;
  }

  stateOf(slot: number, path: Path): PathState {
    return STATES[this.#states[slot * 2 + path]!]!;
  }

  setState(slot: number, path: Path, state: PathState, nowMs: number): void {
    const number = STATES.indexOf(state);
    if (this.#states[slot * 2 + path] === number) return;
    this.#states[slot * 2 + path] = number;
    this.#sinceMs[slot * 2 + path] = nowMs;
  }

  verdictOf(slot: number): Verdict {
    return VERDICTS[this.#verdicts[slot]!]!;
  }

  setVerdict(slot: number, verdict: Verdict): void {
    this.#verdicts[slot] = VERDICTS.indexOf(verdict);
  }

  /** In bytes; 0 = not measured. */
  largestOf(slot: number, path: Path): number {
    return this.#largest[slot * 2 + path]!;
  }

  setLargest(slot: number, path: Path, sizeBytes: number): void {
    this.#largest[slot * 2 + path] = sizeBytes;
  }

  report(slot: number, path: Path): PathReport {
    const state = this.stateOf(slot, path);
    return {
      state,
      sinceMs: state === "unknown" ? undefined : this.#sinceMs[slot * 2 + path],
      lossRatio: this.windows.lossRatio(slot, path),
      rttMs: this.windows.rtt(slot, path),
      largestPacketBytes: this.largestOf(slot, path) || undefined,
    };
  }

  /** Counts of all verdicts. */
  verdictCounts(): Record<Verdict, number> {
    const counts = VERDICTS.map((verdict): [Verdict, number] => [verdict, 0]);
    for (const [slot, target] of this.#targets.entries())
      if (target !== undefined) counts[this.#verdicts[slot]!]![1]++;
    return Object.fromEntries(counts) as Record<Verdict, number>;
  }

  /** The slots of the worst targets: those with a fault, then by loss, then by mean round-trip time through the overlay. */
  worst(count: number): number[] {
    const ranks = new Float64Array(this.#targets.length).fill(-1);
    const slots: number[] = [];
    for (const [slot, target] of this.#targets.entries()) {
      if (target === undefined) continue;
      const path = target.overlay === undefined ? UNDERLAY : OVERLAY;
      const fault = isFault(this.verdictOf(slot)) ? 2e6 : 0;
      const loss = (this.windows.lossRatio(slot, path) ?? 0) * 1e6;
      ranks[slot] = fault + loss + Math.min(this.windows.mean(slot, path), 1e4);
      slots.push(slot);
    }
    return slots.sort((a, b) => ranks[b]! - ranks[a]! || a - b).slice(0, count);
  }

  #reserve(count: number): void {
    this.windows.reserve(count);
    this.#states = copy(this.#states, new Uint8Array(count * 2));
    this.#sinceMs = copy(this.#sinceMs, new Float64Array(count * 2));
    this.#largest = copy(this.#largest, new Uint16Array(count * 2));
    this.#verdicts = copy(this.#verdicts, new Uint8Array(count));
    this.#rounds = copy(this.#rounds, new Uint8Array(count));
    this.#lastMs = copy(this.#lastMs, new Float64Array(count));
    this.#addresses = copy(this.#addresses, new Uint8Array(count * 2 * ADDRESS_BYTES));
  }
}

function copy<T extends Uint8Array | Uint16Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
