/** Peers in memory that answer probes, for tests of the engine: loss, delay and size limits by path, and a clock of their own. */

import { type AddressBytes, type Ip, ipFromBytes, ipToBytes, parseIp } from "../address/ip.ts";
import { ProbeEngine } from "../probe/engine.ts";
import type { VerdictChange } from "../probe/ports.ts";

/** One path to a peer. */
export interface SimulatedPath {
  isUp: boolean;
  rttMs: number;
  /** Largest packet that passes. */
  mostBytes: number;
  /** Share of the packets that is lost. */
  lossRatio: number;
}

export interface SimulatedPeer {
  readonly slot: number;
  readonly underlay: SimulatedPath;
  readonly overlay: SimulatedPath;
  /** Whether it answers TCP. */
  answersTcp: boolean;
}

interface Answer {
  readonly atMs: number;
  readonly source: Ip;
  readonly sequence: number;
  readonly nonce: number;
}

/** The address as a socket gives it: in the middle of a block. */
export const bytesOf = (ip: Ip): AddressBytes => {
  const address = ipToBytes(ip);
  const bytes = new Uint8Array(40).fill(0xff);
  bytes.set(address, 7);
  return { family: ip.family, bytes, at: 7 };
};

const path = (): SimulatedPath => ({ isUp: true, rttMs: 1, mostBytes: 1_500, lossRatio: 0 });

export class ProbedPeers {
  readonly peers: SimulatedPeer[] = [];
  readonly changes: (VerdictChange & { readonly atMs: number })[] = [];
  readonly engine: ProbeEngine;
  nowMs: number;
  sent = 0;
  /** Calls of the engine's tick: each wakes the process on a real host. */
  ticks = 0;
  /** The latest probe to an address, whether it is answered or not. */
  readonly latest = new Map<bigint, Omit<Answer, "atMs">>();
  hasDeviceAddress = true;
  readonly #paths = new Map<string, SimulatedPath>();
  readonly #owners = new Map<string, SimulatedPeer>();
  #answers: Answer[] = [];
  #seed = 1;

  /** `startMs`: the monotonic clock may begin anywhere. */
  constructor(count: number, intervalMs = 1_000, startMs = 5_000) {
    this.nowMs = startMs;
    this.engine = new ProbeEngine(
      {
        random: () => this.#random(),
        send: (to, sequence, nonce, sizeBytes) => this.#send(to, sequence, nonce, sizeBytes),
        answersOtherwise: async (ip) => this.#owners.get(String(ip.value))!.answersTcp,
        context: () => ({
          ...{ mtuBytes: 1_450, interfaceMtuBytes: 1_500, listener: "UDP port 8472" },
          ...{ hasDeviceAddress: this.hasDeviceAddress, ownAddress: () => "192.0.2.1" },
        }),
        onVerdict: (change) => void this.changes.push({ ...change, atMs: this.nowMs }),
      },
      intervalMs,
      startMs,
    );
    for (let index = 0; index < count; index++) this.add();
  }

  /** Adds a peer with two working paths. */
  add(): SimulatedPeer {
    const index = this.peers.length;
    const underlay = { family: 4 as const, value: parseIp("10.200.0.0")!.value + BigInt(index) };
    const overlay = { family: 4 as const, value: parseIp("10.64.0.0")!.value + 256n * BigInt(index) };
    const target = { key: `peer-${index}`, family: 4 as const, underlay, overlay, isRefused: false };
    const peer = {
      ...{ slot: this.engine.add(target, this.nowMs), underlay: path(), overlay: path() },
      answersTcp: false,
    };
    this.#paths.set(String(underlay.value), peer.underlay);
    this.#paths.set(String(overlay.value), peer.overlay);
    this.#owners.set(String(underlay.value), peer);
    this.peers.push(peer);
    return peer;
  }

  /** Lets time pass until `isReached`, at most for `limitMs`; returns how long it took. */
  async run(limitMs: number, isReached: () => boolean = () => false): Promise<number> {
    const startMs = this.nowMs;
    let tickMs = this.nowMs;
    while (this.nowMs - startMs < limitMs && !isReached()) {
      const next = Math.min(tickMs, ...this.#answers.map(({ atMs }) => atMs));
      this.nowMs = Math.max(this.nowMs, next);
      const due = this.#answers.filter(({ atMs }) => atMs <= this.nowMs);
      this.#answers = this.#answers.filter(({ atMs }) => atMs > this.nowMs);
      for (const { source, sequence, nonce } of due)
        this.engine.onReply(bytesOf(source), sequence, nonce, this.nowMs);
      if (this.nowMs >= tickMs) {
        this.ticks++;
        tickMs = this.nowMs + this.engine.tick(this.nowMs);
      }
      await undefined; // what was asked by TCP
    }
    return this.nowMs - startMs;
  }

  verdicts(): string[] {
    return this.peers.map(({ slot }) => this.engine.verdict(slot));
  }

  #send({ bytes, at }: AddressBytes, sequence: number, nonce: number, sizeBytes: number): void {
    const to = ipFromBytes(bytes.subarray(at, at + 4))!;
    this.sent++;
    this.latest.set(to.value, { source: to, sequence, nonce });
    const { isUp, rttMs, mostBytes, lossRatio } = this.#paths.get(String(to.value))!;
    if (!isUp || sizeBytes > mostBytes || this.#random() / 2 ** 32 < lossRatio) return;
    this.#answers.push({ atMs: this.nowMs + rttMs, source: to, sequence, nonce });
  }

  /** A generator that gives the same numbers in each run (Mulberry32). */
  #random(): number {
    this.#seed = (this.#seed + 0x6d2b79f5) >>> 0;
    let value = Math.imul(this.#seed ^ (this.#seed >>> 15), this.#seed | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return (value ^ (value >>> 14)) >>> 0;
  }
}
