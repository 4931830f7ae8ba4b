/**
 * Probes the peers: gives the engine (src/probe) the peers, sockets and the clock, and reports what it finds: in the log once
 * when a peer becomes unreachable and once when it is reachable again, as notes, and for status and metrics. A probe never makes
 * the host unready.
 */

import type { AddressBytes, Family, Ip } from "../address/ip.ts";
import { messageOf } from "../base/error.ts";
import { repeat } from "../base/timers.ts";
import type { Lease, SubnetPair } from "../lease/lease.ts";
import { ECHO_HEAD_BYTES, readEcho, writeEchoRequest } from "../probe/echo.ts";
import { ProbeEngine } from "../probe/engine.ts";
import type { ProbeContext, TargetReport, VerdictChange } from "../probe/ports.ts";
import type { PathReport, ProbeTarget } from "../probe/target-table.ts";
import { isFault } from "../probe/verdict.ts";
import type { ProbeReport } from "../status/api.ts";
import type { AgentEvents } from "./events.ts";
import { LineLimit } from "./line-limit.ts";
import type { Planner } from "./planner.ts";
import type { AgentPorts, EchoSocket } from "./ports.ts";
import { type ProbeNumbers, WORST_PEERS } from "./probe-metrics.ts";
import { contextOf, sameTarget, targetsOf } from "./probe-targets.ts";

export interface PeerProberOptions
  extends Pick<AgentPorts, "openEcho" | "answersTcp" | "randomBytes" | "timers" | "wallClockMs" | "logger"> {
  /** Undefined = no probes. */
  readonly intervalMs: number | undefined;
  readonly planner: Planner;
  readonly own: () => SubnetPair | undefined;
  readonly peers: () => readonly Lease[];
  readonly events: AgentEvents;
}

/** Notes; a cut network takes thousands of peers along. */
const NOTES = 10;

/** A wall clock that is this far off was stepped. */
const CLOCK_STEP_MS = 1_000;
/** Hosts that are tested by TCP at the same time. */
const MOST_ASKED = 32;

interface Entry {
  readonly lease: Lease;
  readonly slot: number;
  readonly target: ProbeTarget;
  /** The update that found it last. */
  update: number;
}

/** The targets of one lease, by their names in the table of entries. */
interface KnownTargets {
  readonly isRoutable: boolean;
  readonly targets: readonly (readonly [name: string, target: ProbeTarget])[];
}

export class PeerProber {
  readonly #options: PeerProberOptions;
  readonly #engine: ProbeEngine;
  readonly #entries = new Map<string, Entry>();
  /** A lease never changes: of thousands, an update works out those that are new. */
  #known = new WeakMap<Lease, KnownTargets>();
  #basis: readonly unknown[] = [];
  #updates = 0;
  /** Faults that last, by slot, and since when. */
  readonly #faults = new Map<number, { readonly sinceMs: number }>();
  readonly #identifier: number;
  readonly #sockets = new Map<number, EchoSocket>();
  readonly #head = new Uint8Array(ECHO_HEAD_BYTES);
  readonly #lines: LineLimit;
  #random = new Uint32Array(0);
  #randomUsed = 0;
  #asking = 0;
  #wallOffsetMs = 0;
  #context: ProbeContext;

  constructor(options: PeerProberOptions) {
    this.#options = options;
    this.#lines = new LineLimit(options.logger);
    this.#context = contextOf(options.planner);
    this.#engine = new ProbeEngine(
      {
        random: () => this.#nextRandom(),
        send: (to, sequence, nonce, sizeBytes) => this.#send(to, sequence, nonce, sizeBytes),
        answersOtherwise: (ip) => this.#askByTcp(ip),
        context: () => this.#context,
        onVerdict: (change) => this.#onVerdict(change),
      },
      options.intervalMs ?? 0,
      options.timers.nowMs(),
    );
    this.#identifier = this.#nextRandom() & 0xffff;
  }

  /** Probes until aborted; returns at once if probes are off or not possible here. */
  async run(signal: AbortSignal): Promise<void> {
    const { intervalMs, openEcho, timers, logger, events } = this.#options;
    if (intervalMs === undefined || openEcho === undefined) return;
    for (const family of [4, 6] as const) {
      const socket = this.#open(family);
      if (socket !== undefined) this.#sockets.set(family, socket);
    }
    if (this.#sockets.size === 0) {
      logger.warn("Peers are not probed: raw sockets need the capability NET_RAW");
      return;
    }
    let isStale = true;
    events.subscribe(({ type }) => {
      if (type === "peers" || type === "subnets" || type === "next-hops") isStale = true;
    });
    const turn = (): number => {
      if (isStale) this.#update();
      isStale = false;
      const nowMs = timers.nowMs();
      const waitMs = this.#engine.tick(nowMs);
      for (const socket of this.#sockets.values()) {
        socket.flush();
        socket.receiveRequests(this.#faults.size > 0);
      }
      this.#lines.flush(nowMs);
      return waitMs;
    };
    try {
      await repeat(timers, turn, signal);
    } finally {
      for (const socket of this.#sockets.values()) socket[Symbol.dispose]();
    }
  }

  /** Undefined if this host does not allow it, or does not have the family. */
  #open(family: Family): EchoSocket | undefined {
    const { openEcho, timers, logger } = this.#options;
    try {
      return openEcho?.(family, this.#identifier, (source, message, start, length) => {
        const echo = readEcho(message, family, start, length);
        if (echo?.type === "request") this.#engine.onRequest(source, timers.nowMs());
        else if (echo?.identifier === this.#identifier)
          this.#engine.onReply(source, echo.sequence, echo.nonce, timers.nowMs());
      });
    } catch (error) {
      logger.warn(`IPv${family} peers are not probed: ${messageOf(error)}`);
      return undefined;
    }
  }

  /** Peers that are unreachable, one line each; many are counted. */
  get notes(): string[] {
    const slots = [...this.#faults.keys()];
    const lines = slots.slice(0, NOTES).map((slot) => describe(this.#engine.report(slot)!));
    const more = slots.length - NOTES;
    return more > 0 ? [...lines, `${more} more peers are unreachable`] : lines;
  }

  /** What is known about a peer in a family; undefined while probes are off. */
  report(key: string, family: Family): ProbeReport | undefined {
    const entry = this.#entries.get(`${family} ${key}`);
    const report = entry && this.#engine.report(entry.slot);
    return report && this.#toApi(report);
  }

  /** For metrics; undefined while probes are off. */
  get numbers(): ProbeNumbers | undefined {
    if (this.#sockets.size === 0) return undefined;
    const { verdicts, worst } = this.#engine.summary(WORST_PEERS);
    const toNamed = (report: TargetReport) => ({ peer: report.target.key, probe: this.#toApi(report) });
    return { sent: this.#engine.sent, verdicts, worst: worst.map(toNamed) };
  }

  /** Takes over the peers, their addresses and the MTU as they are now. */
  #update(): void {
    const { planner, peers, own, timers } = this.#options;
    this.#context = contextOf(planner);
    if (own() === undefined) return;
    const nowMs = timers.nowMs();
    const unroutable = new Set(
      planner.peerProblems.flatMap(({ key, isProgrammed }) => (isProgrammed ? [] : [key])),
    );
    const update = ++this.#updates;
    this.#forgetTargetsOfOtherPlans();
    let found = 0;
    for (const lease of peers()) {
      for (const [name, target] of this.#targetsOf(lease, !unroutable.has(lease.key))) {
        found++;
        const known = this.#entries.get(name);
        if (known !== undefined && (known.target === target || sameTarget(known.target, target))) {
          known.update = update;
          continue;
        }
        if (known !== undefined) this.#engine.remove(known.slot);
        this.#entries.set(name, { lease, target, slot: this.#engine.add(target, nowMs), update });
      }
    }
    if (found === this.#entries.size) return;
    for (const [name, entry] of this.#entries) {
      if (entry.update === update) continue;
      this.#engine.remove(entry.slot);
      this.#entries.delete(name);
    }
  }

  /** Targets depend on the config and on what the plan has for all peers. */
  #forgetTargetsOfOtherPlans(): void {
    const { config, hasDeviceAddress, carriesPeers } = this.#options.planner;
    const basis = [config, hasDeviceAddress, carriesPeers];
    if (basis.every((value, index) => value === this.#basis[index])) return;
    this.#basis = basis;
    this.#known = new WeakMap();
  }

  #targetsOf(lease: Lease, isRoutable: boolean): KnownTargets["targets"] {
    const known = this.#known.get(lease);
    if (known?.isRoutable === isRoutable) return known.targets;
    const targets = targetsOf(lease, this.#options.planner, isRoutable).map(
      (target) => [`${target.family} ${target.key}`, target] as const,
    );
    this.#known.set(lease, { isRoutable, targets });
    return targets;
  }

  #send(to: AddressBytes, sequence: number, nonce: number, sizeBytes: number): void {
    const echo = { identifier: this.#identifier, sequence, nonce };
    const length = writeEchoRequest(this.#head, to.family, echo, sizeBytes);
    this.#sockets.get(to.family)?.queue(to, this.#head, length);
  }

  #askByTcp(ip: Ip): Promise<boolean> | undefined {
    if (this.#asking >= MOST_ASKED) return undefined;
    this.#asking++;
    return (this.#options.answersTcp?.(ip) ?? Promise.resolve(false)).finally(() => this.#asking--);
  }

  #onVerdict({ slot, before, verdict, target }: VerdictChange): void {
    const { timers, events } = this.#options;
    const nowMs = timers.nowMs();
    let message: string;
    if (isFault(verdict)) {
      if (!isFault(before)) this.#faults.set(slot, { sinceMs: nowMs });
      message = describe(this.#engine.report(slot)!);
      this.#lines.warn(message, nowMs);
    } else {
      const fault = this.#faults.get(slot);
      if (fault === undefined) return;
      this.#faults.delete(slot);
      const seconds = Math.round((nowMs - fault.sinceMs) / 1_000);
      message =
        verdict === "reachable"
          ? `${nameOf(target)} is reachable again after ${seconds} s`
          : `${nameOf(target)} is not probed any more: it changed or left`;
      this.#lines.info(message, nowMs);
    }
    events.emit({ type: "probe", message, key: target.key });
  }

  #toApi({ target, verdict, advice, underlay, overlay }: TargetReport): ProbeReport {
    const offsetMs = this.#wallOffset();
    const path = ({ state, sinceMs, lossRatio, rttMs, largestPacketBytes }: PathReport) => ({
      state,
      ...(sinceMs === undefined ? {} : { since: new Date(offsetMs + sinceMs).toISOString() }),
      ...(lossRatio === undefined ? {} : { lossRatio }),
      ...(rttMs === undefined ? {} : { rttMs }),
      ...(largestPacketBytes === undefined ? {} : { largestPacketBytes }),
    });
    return {
      family: target.family === 4 ? "ipv4" : "ipv6",
      verdict,
      ...(advice === undefined ? {} : { advice }),
      underlay: path(underlay),
      overlay: path(overlay),
    };
  }

  /** Wall-clock time at zero of the monotonic clock: the same for all answers until the wall clock is stepped. */
  #wallOffset(): number {
    const { wallClockMs, timers } = this.#options;
    const offsetMs = wallClockMs() - timers.nowMs();
    if (Math.abs(offsetMs - this.#wallOffsetMs) > CLOCK_STEP_MS) this.#wallOffsetMs = Math.round(offsetMs);
    return this.#wallOffsetMs;
  }

  #nextRandom(): number {
    if (this.#randomUsed >= this.#random.length) {
      this.#random = new Uint32Array(this.#options.randomBytes(1_024).slice().buffer);
      this.#randomUsed = 0;
    }
    return this.#random[this.#randomUsed++]!;
  }
}

const nameOf = ({ key, family }: ProbeTarget): string => `Peer ${key}${family === 6 ? " (IPv6)" : ""}`;

const describe = ({ target, verdict, advice }: TargetReport): string =>
  `${nameOf(target)} is unreachable: ${verdict}${advice === undefined ? "" : `: ${advice}`}`;
