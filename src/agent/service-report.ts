/**
 * What the service manager receives besides READY=1 (sd_notify(3)): STATUS= in one line, which `systemctl status` shows, and
 * keep-alives of the watchdog (WATCHDOG=1). These come only while the reconciler makes progress: a daemon whose timers run but
 * that programs nothing any more is restarted, too.
 */

import { printable } from "../base/printable.ts";
import type { Timers } from "../base/timers.ts";
import { describeSubnets } from "../lease/lease.ts";
import type { AgentEvent } from "./events.ts";
import type { AgentParts } from "./parts.ts";
import type { Readiness } from "./readiness.ts";

export interface ServiceReportOptions {
  /** Sends a notification and does not wait; may throw, which is ignored: READY=1 reports a failure. */
  readonly notify: (state: string) => void;
  readonly readiness: Readiness;
  /** What an operator should know beside the readiness' notes: outages. */
  readonly notes: () => readonly string[];
  readonly timers: Timers;
  /** WATCHDOG_USEC in milliseconds; undefined = no keep-alives. */
  readonly watchdogMs: number | undefined;
}

/** Shortest time between two STATUS lines. */
const STATUS_MS = 2_000;
const MAX_STATUS_LENGTH = 300;
/** The reconciler finishes a pass each minute even if nothing happens (parts.ts). */
const STALLED_MS = 150_000;
/** Keep-alives within one period of the watchdog. */
const KEEP_ALIVES = 3;

/** Events that may change the STATUS line. */
const RELEVANT: ReadonlySet<AgentEvent["type"]> = new Set(["pass", "peers", "lease", "subnets", "probe"]);

export class ServiceReport implements Disposable {
  readonly #options: ServiceReportOptions;
  #parts: Pick<AgentParts, "keeper" | "follower"> | undefined;
  #sent = "";
  #isStopping = false;
  #cancelStatus: (() => void) | undefined;
  #cancelKeepAlive: () => void = () => {};
  /** When the reconciler last finished a pass; before the first one, when the parts were built. */
  #progressMs: number | undefined;

  constructor(options: ServiceReportOptions) {
    this.#options = options;
    options.readiness.subscribe(() => this.#schedule());
    this.#schedule();
    this.#keepAlive();
  }

  /** From now on the reconciler is watched. */
  attach(parts: Pick<AgentParts, "keeper" | "follower" | "events">): void {
    this.#parts = parts;
    this.#progressMs = this.#options.timers.nowMs();
    parts.events.subscribe(({ type }) => {
      if (type === "pass") this.#progressMs = this.#options.timers.nowMs();
      if (RELEVANT.has(type)) this.#schedule();
    });
  }

  /** The last notification; the watchdog does not count any more. */
  stopping(): void {
    this.#isStopping = true;
    this[Symbol.dispose]();
    this.#notify("STOPPING=1\nSTATUS=Stopping");
  }

  [Symbol.dispose](): void {
    this.#cancelStatus?.();
    this.#cancelKeepAlive();
  }

  #schedule(): void {
    if (this.#isStopping || this.#cancelStatus !== undefined) return;
    const delayMs = this.#sent === "" ? 0 : STATUS_MS;
    this.#cancelStatus = this.#options.timers.after(delayMs, () => {
      this.#cancelStatus = undefined;
      const status = this.#describe();
      if (status !== this.#sent && this.#notify(`STATUS=${status}`)) this.#sent = status;
    });
  }

  #describe(): string {
    const { readiness, notes } = this.#options;
    const [reason, ...others] = readiness.reasons;
    if (reason !== undefined) {
      const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
      return cut(`Not ready: ${printable(reason)}`, more);
    }
    const own = this.#parts?.keeper.own;
    const subnets = own === undefined ? [] : [describeSubnets(own.subnets)];
    const peers = this.#parts?.follower.peers().length ?? 0;
    const problems = [...notes(), ...readiness.notes];
    const what = [...subnets, peers === 1 ? "1 peer" : `${peers} peers`].join(", ");
    if (problems.length === 0) return `Ready: ${what}`;
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    return cut(`Ready: ${what}, ${count}: ${printable(problems[0]!)}`, "");
  }

  #keepAlive(): void {
    const { watchdogMs, timers } = this.#options;
    if (watchdogMs === undefined) return;
    const isStalled = this.#progressMs !== undefined && timers.nowMs() - this.#progressMs > STALLED_MS;
    if (!isStalled) this.#notify("WATCHDOG=1");
    this.#cancelKeepAlive = timers.after(watchdogMs / KEEP_ALIVES, () => this.#keepAlive());
  }

  /** False = it was not sent, which is reported with READY=1. */
  #notify(state: string): boolean {
    try {
      this.#options.notify(state);
      return true;
    } catch {
      return false;
    }
  }
}

const cut = (text: string, end: string): string =>
  text.length + end.length > MAX_STATUS_LENGTH
    ? `${text.slice(0, MAX_STATUS_LENGTH - end.length - 1)}…${end}`
    : text + end;
