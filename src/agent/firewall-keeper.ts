/**
 * Keeps the firewall equal to the desired rules: checks it at once when they change or when a foreign program changed
 * something that concerns them, and every few minutes without a cause.
 *
 * The kernel notifies of every change of nftables, those of iptables-nft included, with the process. Of the tables of
 * iptables-legacy it does not, so they are compared with their last state, twice per `resyncMs`. Neither costs a process
 * while nothing happens (W31). Changes of foreign chains that packets pass are checked at intervals that bound the cost.
 */

import type { Prefix } from "../address/prefix.ts";
import { FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import { concernsPackets, concernsUs } from "../firewall/concern.ts";
import { Firewall } from "../firewall/firewall.ts";
import type { FirewallExec } from "../firewall/firewall-exec.ts";
import { networkOfRules, withNetwork } from "../firewall/ownership.ts";
import type { NotificationSource } from "../netlink/monitor.ts";
import { type NftChange, type NftNotice, nftNotices } from "../netlink/nfnetlink.ts";
import type { DesiredFirewall } from "./desired-firewall.ts";
import type { DriftLedger } from "./drift.ts";
import type { Readiness } from "./readiness.ts";

/** The host's firewall. */
export interface FirewallSystem {
  readonly exec: FirewallExec;
  /** Subscribes to the changes of nftables from this call on. Throws FlannelError where the kernel has none. */
  readonly openNftNotifications: () => NotificationSource;
  /** A digest of the tables of iptables-legacy. Throws FlannelError. */
  readonly digestXtables: () => string;
}

export interface FirewallKeeperOptions {
  readonly system: FirewallSystem;
  /** Longest time until a change of the tables of iptables-legacy is repaired; without notifications of nftables, the check interval. */
  readonly resyncMs: number;
  /** The networks of this and the previous run, whose rules are ours. */
  readonly ownNetworks?: readonly Prefix[];
  readonly logger: Logger;
  readonly timers: Timers;
  readonly readiness: Readiness;
  readonly drift: DriftLedger;
}

/** Pause after a failure. */
const RETRY_MS = 1_000;
/** Longest time between two checks. */
const SAFETY_CHECK_MS = 300_000;
/** More checks than this within HASTE_MS that foreign changes caused are followed by checks CALM_MS apart. */
const HASTY_CHECKS = 50;
const HASTE_MS = 10_000;
const CALM_MS = 1_000;
/**
 * The first change of a foreign chain is checked at once; further ones this far apart, and not for more than one part in so
 * many of the time.
 */
const AUDIT_PAUSE_MS = 1_000;
const AUDIT_SHARE = 20;
/** Our own latest processes, which identify our own changes. */
const REMEMBERED_PIDS = 16;

/** A foreign change that concerns our rules. */
interface News {
  readonly atMs: number;
  readonly notice: NftNotice;
}

export class FirewallKeeper {
  readonly #options: FirewallKeeperOptions;
  readonly #exec: FirewallExec;
  #ownPids: number[] = [];
  #desired: DesiredFirewall | undefined;
  /** The desired firewall of the last check, and of the last check that succeeded. */
  #tried: DesiredFirewall | undefined;
  #applied: DesiredFirewall | undefined;
  #firewall: Firewall | undefined;
  #networks: readonly Prefix[];
  #problem: string | undefined;
  #news: News[] = [];
  /** A foreign chain changed that packets of the network pass. */
  #isAuditDue = false;
  #nextAuditMs = 0;
  /** Chains that changed during the check under way, of which it is only known afterwards whether packets pass them. */
  #changedChains: Set<string> | undefined;
  #isListening = false;
  /** Digest of the tables of iptables-legacy when they were in sync; undefined = not known, or not needed. */
  #syncedXtables: string | undefined;
  /** Their digest when they were last searched for drops. */
  #auditedXtables: string | undefined;
  readonly #wake = new WakeSignal();

  constructor(options: FirewallKeeperOptions) {
    this.#options = options;
    const { exec } = options.system;
    this.#networks = options.ownNetworks ?? [];
    options.readiness.addNotes(() =>
      (this.#firewall?.findings ?? []).map((finding) => `firewall: ${finding}`),
    );
    this.#exec = {
      run: async (command, args, stdin) => {
        const result = await exec.run(command, args, stdin);
        if (result.pid !== undefined) this.#ownPids = [...this.#ownPids, result.pid].slice(-REMEMBERED_PIDS);
        return result;
      },
    };
  }

  /** Sets the desired firewall. */
  setDesired(desired: DesiredFirewall): void {
    this.#desired = desired;
    for (const rules of [desired.rules.ipv4, desired.rules.ipv6])
      this.#networks = withNetwork(this.#networks, networkOfRules(rules));
    this.#wake.wake();
  }

  /** Whether desired rules are not applied yet, and why if that is known. */
  get pending(): { readonly reason: string | undefined } | undefined {
    return this.#desired === this.#applied && this.#problem === undefined
      ? undefined
      : { reason: this.#problem };
  }

  /** Until aborted; the rules stay. */
  async run(signal: AbortSignal): Promise<void> {
    const { timers } = this.#options;
    const source = this.#subscribe();
    signal.addEventListener("abort", () => source?.[Symbol.dispose](), { once: true });
    const listening = source === undefined ? undefined : this.#listen(source);
    const hasty: number[] = [];
    while (!signal.aborted) {
      if (this.#desired !== undefined) await this.#sync(this.#desired);
      await this.#untilCheckIsDue(signal);
      if (this.#news.length === 0) continue;
      hasty.push(timers.nowMs());
      if (hasty.length > HASTY_CHECKS && hasty.at(-1)! - hasty.shift()! < HASTE_MS) {
        await sleep(timers, CALM_MS, signal);
      }
    }
    await this.#firewall?.[Symbol.asyncDispose]();
    await listening;
  }

  async #sync(desired: DesiredFirewall): Promise<void> {
    const { logger, timers, readiness } = this.#options;
    const startedMs = timers.nowMs();
    const news = this.#news;
    const isAuditDue = this.#isAuditDue;
    this.#news = [];
    this.#isAuditDue = false;
    this.#tried = desired;
    this.#syncedXtables = undefined;
    this.#changedChains = new Set();
    try {
      const { firewall, isNew } = await this.#firewallFor(desired.mode);
      const before = this.#digestXtables();
      const changes = await firewall.ensure(desired.rules, desired.listeners);
      if (!isNew && isAuditDue) await firewall.audit("nftables", desired.rules);
      if (!isNew && firewall.backend !== "legacy" && before !== this.#auditedXtables)
        await firewall.audit("legacy", desired.rules);
      this.#auditedXtables = before;
      if (changes.length === 0 && firewall.backend === "legacy") this.#syncedXtables = before;
      this.#report(desired, changes, news, startedMs);
      if (this.#problem !== undefined) logger.info("Firewall is in sync");
      this.#problem = undefined;
      this.#applied = desired;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem) logger.error(`Failed to apply the firewall rules; retrying: ${problem}`);
      this.#problem = problem;
    }
    const isWatched = (chain: string) => this.#firewall?.isWatched(chain) === true;
    this.#isAuditDue ||= [...this.#changedChains].some(isWatched);
    this.#changedChains = undefined;
    const endedMs = timers.nowMs();
    if (isAuditDue)
      this.#nextAuditMs = endedMs + Math.max(AUDIT_PAUSE_MS, (endedMs - startedMs) * AUDIT_SHARE);
    readiness.set("firewall", this.#problem);
  }

  /** Another mode is another Firewall, whose first check deletes the rules of the former, after the new ones are applied. */
  async #firewallFor(mode: DesiredFirewall["mode"]): Promise<{ firewall: Firewall; isNew: boolean }> {
    const isNew = this.#firewall?.mode !== mode;
    if (isNew) {
      await this.#firewall?.[Symbol.asyncDispose]();
      const { logger } = this.#options;
      this.#firewall = new Firewall({ mode, exec: this.#exec, logger, formerNetworks: this.#networks });
    }
    return { firewall: this.#firewall!, isNew };
  }

  /** A change is a repair only if the firewall was in sync before. */
  #report(
    desired: DesiredFirewall,
    changes: readonly string[],
    news: readonly News[],
    startedMs: number,
  ): void {
    if (changes.length === 0) return;
    const { logger, drift, timers } = this.#options;
    if (desired !== this.#applied || this.#problem !== undefined) {
      logger.info(`Firewall: ${changes.join("; ")}`);
      return;
    }
    const tookMs = timers.nowMs() - (news[0]?.atMs ?? startedMs);
    const names = new Set(news.flatMap(({ notice }) => namesOf(notice)));
    const by = names.size === 0 ? undefined : [...names].join(", ");
    drift.record(changes.map((what) => ({ kind: "firewall", what, tookMs, by })));
  }

  /** Waits for another desired firewall, for news, or until the next check. */
  async #untilCheckIsDue(signal: AbortSignal): Promise<void> {
    const { timers, resyncMs } = this.#options;
    const dueMs = timers.nowMs() + (this.#problem === undefined ? SAFETY_CHECK_MS : RETRY_MS);
    while (!signal.aborted && this.#desired === this.#tried && !this.#hasNews()) {
      const leftMs = (this.#isAuditDue ? Math.min(dueMs, this.#nextAuditMs) : dueMs) - timers.nowMs();
      if (leftMs <= 0) return;
      const isLegacy = this.#firewall?.backend === "legacy";
      const isNotified = this.#isListening && !isLegacy;
      const isPolled = !isNotified || this.#firewall?.hasLegacyFindings === true;
      // twice in a period, so that a repair is done within one
      const timeoutMs = isPolled ? Math.min(leftMs, isLegacy ? resyncMs / 2 : resyncMs) : leftMs;
      await this.#wake.wait({ timers, timeoutMs, signal });
      if (isNotified ? isPolled && this.#auditedXtables !== this.#digestXtables() : this.#hasNewXtables())
        return;
    }
  }

  /** Only when a process of ours has ended its changes are known to be our own. */
  #hasNews(): boolean {
    this.#news = this.#news.filter(
      ({ notice }) => notice === "overrun" || !this.#ownPids.includes(notice.pid ?? 0),
    );
    return this.#news.length > 0;
  }

  #hasNewXtables(): boolean {
    return this.#syncedXtables === undefined || this.#syncedXtables !== this.#digestXtables();
  }

  /** Undefined if the tables cannot be read, for example during a write. */
  #digestXtables(): string | undefined {
    try {
      return this.#options.system.digestXtables();
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      return undefined;
    }
  }

  #subscribe(): NotificationSource | undefined {
    try {
      return this.#options.system.openNftNotifications();
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      this.#options.logger.debug(`Failed to subscribe to notifications of nftables: ${messageOf(error)}`);
      return undefined;
    }
  }

  async #listen(source: NotificationSource): Promise<void> {
    this.#isListening = true;
    for await (const notices of nftNotices(source, (change) => this.#isOfInterest(change))) {
      const atMs = this.#options.timers.nowMs();
      this.#news.push(...notices.map((notice) => ({ atMs, notice })));
      this.#wake.wake();
    }
    this.#isListening = false;
  }

  /** Changes that only an audit concerns are not news: they do not hurry the next check. */
  #isOfInterest(change: NftChange): boolean {
    if (concernsUs(change)) return true;
    const isWatched = (chain: string): boolean => {
      this.#changedChains?.add(chain);
      return this.#firewall?.isWatched(chain) === true;
    };
    if (!this.#isAuditDue && concernsPackets(change, isWatched)) {
      this.#isAuditDue = true;
      this.#wake.wake();
    }
    return false;
  }
}

/** "iptables-nft (pid 812)". */
const namesOf = (notice: NftNotice): string[] =>
  notice === "overrun" || notice.processName === undefined
    ? []
    : [`${notice.processName} (pid ${notice.pid})`];
