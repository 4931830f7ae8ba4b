/**
 * Keeps the firewall as it should be: at once when the wish changes or when somebody else changed something that may
 * concern it, and, because nobody is infallible, once in a while though nothing seems to have happened.
 *
 * nftables tells of every change, those of iptables-nft included, and by whom; of the tables of iptables-legacy nobody
 * tells, so they are compared with what they were, twice every `resyncMs`. Neither costs a process while nothing happens (W31).
 */

import { FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import type { FamilyConfig } from "../config/network-family.ts";
import type { FirewallOptions } from "../config/options.ts";
import type { PrefixPair } from "../config/subnet-env.ts";
import { concernsUs } from "../firewall/concern.ts";
import { Firewall } from "../firewall/firewall.ts";
import type { FirewallExec } from "../firewall/firewall-exec.ts";
import { type FirewallNetwork, type FirewallRules, firewallRules } from "../firewall/rules.ts";
import type { NotificationSource } from "../netlink/monitor.ts";
import { type NftNotice, nftNotices } from "../netlink/nfnetlink.ts";
import type { DriftLedger } from "./drift.ts";
import type { Readiness } from "./readiness.ts";

/** The host's firewall, as `cmd` joins it. */
export interface FirewallSystem {
  readonly exec: FirewallExec;
  /** Subscribes to the changes of nftables from this call on. Throws FlannelError where the kernel has none. */
  readonly openNftNotifications: () => NotificationSource;
  /** A text that is another one after each change of the tables of iptables-legacy. Throws FlannelError. */
  readonly digestXtables: () => string;
}

export interface FirewallKeeperOptions {
  readonly system: FirewallSystem;
  /** Within this time a change of the tables of iptables-legacy is put right; without notifications of nftables, how often is looked. */
  readonly resyncMs: number;
  readonly logger: Logger;
  readonly timers: Timers;
  readonly readiness: Readiness;
  readonly drift: DriftLedger;
}

/** What to hold. */
export interface FirewallWish {
  readonly mode: "iptables" | "nftables";
  readonly rules: FirewallRules;
}

/** The wish that follows from options, network config and the host's own subnets. */
export function firewallWish(
  options: FirewallOptions,
  network: Omit<NetworkConfig, "backend">,
  subnets: PrefixPair,
): FirewallWish {
  const familyOf = (
    config: FamilyConfig | undefined,
    family: keyof PrefixPair,
  ): FirewallNetwork | undefined => {
    const subnet = subnets[family];
    return config === undefined || subnet === undefined ? undefined : { network: config.network, subnet };
  };
  const { ipMasq, forwardRules, randomFully } = options;
  return {
    mode: network.enableNftables ? "nftables" : "iptables",
    rules: firewallRules({
      ipv4: familyOf(network.ipv4, "ipv4"),
      ipv6: familyOf(network.ipv6, "ipv6"),
      ...{ ipMasq, forwardRules, randomFully },
    }),
  };
}

/** After a failure. */
const RETRY_MS = 1_000;
/** Longest time without a look. */
const SAFETY_CHECK_MS = 300_000;
/** So many looks that others gave rise to may follow each other within this time; then they are made this far apart. */
const HASTY_LOOKS = 50;
const HASTE_MS = 10_000;
const CALM_MS = 1_000;
/** Our own latest processes, by which our own changes are known. */
const REMEMBERED_PIDS = 16;

/** Somebody may have changed what is ours. */
interface News {
  readonly atMs: number;
  readonly notice: NftNotice;
}

export class FirewallKeeper {
  readonly #options: FirewallKeeperOptions;
  readonly #exec: FirewallExec;
  #ownPids: number[] = [];
  #wish: FirewallWish | undefined;
  /** The wish that was last worked on, and the one that the firewall was last made to be like. */
  #tried: FirewallWish | undefined;
  #fulfilled: FirewallWish | undefined;
  #firewall: Firewall | undefined;
  #problem: string | undefined;
  #news: News[] = [];
  #isListening = false;
  /** Digest of the tables of iptables-legacy with which all was found right; undefined = not known, or not needed. */
  #rightXtables: string | undefined;
  #wake = () => {};

  constructor(options: FirewallKeeperOptions) {
    this.#options = options;
    const { exec } = options.system;
    this.#exec = {
      run: async (command, args, stdin) => {
        const result = await exec.run(command, args, stdin);
        if (result.pid !== undefined) this.#ownPids = [...this.#ownPids, result.pid].slice(-REMEMBERED_PIDS);
        return result;
      },
    };
  }

  /** Sets what to hold from now on. */
  hold(wish: FirewallWish): void {
    this.#wish = wish;
    this.#wake();
  }

  /** Works until aborted; the rules stay. */
  async run(signal: AbortSignal): Promise<void> {
    const { timers } = this.#options;
    const source = this.#subscribe();
    const stop = () => {
      source?.[Symbol.dispose]();
      this.#wake();
    };
    signal.addEventListener("abort", stop, { once: true });
    const listening = source === undefined ? undefined : this.#listen(source);
    const hasty: number[] = [];
    while (!signal.aborted) {
      if (this.#wish !== undefined) await this.#bring(this.#wish);
      await this.#untilThereIsWork(signal);
      if (this.#news.length === 0) continue;
      hasty.push(timers.nowMs());
      if (hasty.length > HASTY_LOOKS && hasty.at(-1)! - hasty.shift()! < HASTE_MS) {
        await sleep(timers, CALM_MS, signal);
      }
    }
    await this.#firewall?.[Symbol.asyncDispose]();
    await listening;
  }

  async #bring(wish: FirewallWish): Promise<void> {
    const { logger, timers, readiness } = this.#options;
    const startedMs = timers.nowMs();
    const news = this.#news;
    this.#news = [];
    this.#tried = wish;
    this.#rightXtables = undefined;
    try {
      const firewall = await this.#firewallFor(wish.mode);
      const before = firewall.backend === "legacy" ? this.#digestXtables() : undefined;
      const changes = await firewall.ensure(wish.rules);
      if (changes.length === 0) this.#rightXtables = before;
      this.#tell(wish, changes, news, startedMs);
      if (this.#problem !== undefined) logger.info("The firewall is as it should be again");
      this.#problem = undefined;
      this.#fulfilled = wish;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem)
        logger.error(`The firewall is not as it should be, trying on: ${problem}`);
      this.#problem = problem;
    }
    readiness.set("firewall", this.#problem);
  }

  /** Another mode is another Firewall, whose first look takes away what the former left, after the new rules are there. */
  async #firewallFor(mode: FirewallWish["mode"]): Promise<Firewall> {
    if (this.#firewall?.mode !== mode) {
      await this.#firewall?.[Symbol.asyncDispose]();
      this.#firewall = new Firewall({ mode, exec: this.#exec, logger: this.#options.logger });
    }
    return this.#firewall;
  }

  /** What was changed is a repair only if it had been right before. */
  #tell(wish: FirewallWish, changes: readonly string[], news: readonly News[], startedMs: number): void {
    if (changes.length === 0) return;
    const { logger, drift, timers } = this.#options;
    if (wish !== this.#fulfilled || this.#problem !== undefined) {
      logger.info(`Firewall: ${changes.join("; ")}`);
      return;
    }
    const tookMs = timers.nowMs() - (news[0]?.atMs ?? startedMs);
    const names = new Set(news.flatMap(({ notice }) => namesOf(notice)));
    const by = names.size === 0 ? undefined : [...names].join(", ");
    drift.record(changes.map((what) => ({ kind: "firewall", what, tookMs, by })));
  }

  /** Waits for another wish, for news, or until a look is due. */
  async #untilThereIsWork(signal: AbortSignal): Promise<void> {
    const { timers, resyncMs } = this.#options;
    const dueMs = timers.nowMs() + (this.#problem === undefined ? SAFETY_CHECK_MS : RETRY_MS);
    while (!signal.aborted && this.#wish === this.#tried && !this.#hasNews()) {
      const leftMs = dueMs - timers.nowMs();
      if (leftMs <= 0) return;
      const isLegacy = this.#firewall?.backend === "legacy";
      const isTold = this.#isListening && !isLegacy;
      // Twice in a period, so that a repair is done within one.
      await this.#rest(isTold ? leftMs : Math.min(leftMs, isLegacy ? resyncMs / 2 : resyncMs));
      if (!isTold && this.#hasNewXtables()) return;
    }
  }

  /** Only when a process of ours has ended it is known that its changes were our own. */
  #hasNews(): boolean {
    this.#news = this.#news.filter(
      ({ notice }) => notice === "overrun" || !this.#ownPids.includes(notice.pid ?? 0),
    );
    return this.#news.length > 0;
  }

  #hasNewXtables(): boolean {
    return this.#rightXtables === undefined || this.#rightXtables !== this.#digestXtables();
  }

  /** Undefined where it cannot be had: while somebody writes, for instance. */
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
      this.#options.logger.debug(`nftables' notifications cannot be had: ${messageOf(error)}`);
      return undefined;
    }
  }

  async #listen(source: NotificationSource): Promise<void> {
    this.#isListening = true;
    for await (const notices of nftNotices(source, concernsUs)) {
      const atMs = this.#options.timers.nowMs();
      this.#news.push(...notices.map((notice) => ({ atMs, notice })));
      this.#wake();
    }
    this.#isListening = false;
  }

  /** Resolves after this time or when woken. */
  #rest(pauseMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.timers.after(pauseMs, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }
}

/** "iptables-nft (pid 812)". */
const namesOf = (notice: NftNotice): string[] =>
  notice === "overrun" || notice.processName === undefined
    ? []
    : [`${notice.processName} (pid ${notice.pid})`];
