/** A firewall keeper on a host of the firewall's bed, with its commands and its log. */

import type { DesiredFirewall } from "../../src/agent/desired-firewall.ts";
import { DriftLedger } from "../../src/agent/drift.ts";
import { FirewallKeeper, type FirewallSystem } from "../../src/agent/firewall-keeper.ts";
import { Readiness } from "../../src/agent/readiness.ts";
import type { Logger } from "../../src/base/logger.ts";
import { systemTimers } from "../../src/base/timers.ts";
import type { FirewallExec } from "../../src/firewall/firewall-exec.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { openNftNotifications } from "../../src/linux/notifications.ts";
import { digestXtables } from "../../src/linux/xtables.ts";
import type { FirewallBed } from "./firewall-bed.ts";
import { waitFor } from "./support.ts";

export interface KeeperRun extends AsyncDisposable {
  readonly keeper: FirewallKeeper;
  readonly drift: DriftLedger;
  readonly log: readonly string[];
  /** How often the tables of iptables-legacy were compared. */
  readonly digests: () => number;
  /** Why the host is not ready, "" = it is. */
  readonly problem: () => string;
  /** Readiness notes. */
  readonly notes: () => readonly string[];
  /** Sets the desired firewall and waits until it is applied. */
  holds(desired: DesiredFirewall): Promise<void>;
}

export interface KeeperOptions {
  readonly resyncMs?: number;
  readonly system?: Partial<FirewallSystem>;
}

export function startKeeper(bed: FirewallBed, options: KeeperOptions = {}): KeeperRun {
  const netns = bed.path("host");
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger: Logger = { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") };
  const readiness = new Readiness();
  readiness.set("firewall", "not there yet");
  const drift = new DriftLedger({ logger, timers: systemTimers, wallClockMs: Date.now });
  let digests = 0;
  const keeper = new FirewallKeeper({
    system: {
      exec: bed.exec,
      openNftNotifications: () => openNftNotifications({ netns }),
      digestXtables() {
        digests++;
        return withNetns(netns, digestXtables);
      },
      ...options.system,
    },
    resyncMs: options.resyncMs ?? 3_600_000,
    logger,
    timers: systemTimers,
    readiness,
    drift,
  });
  const stop = new AbortController();
  const running = keeper.run(stop.signal);
  const problem = (): string => readiness.reasons.join();
  return {
    keeper,
    drift,
    log,
    digests: () => digests,
    problem,
    notes: () => readiness.notes,
    async holds(desired) {
      readiness.set("firewall", "not tried yet");
      keeper.setDesired(desired);
      await waitFor("the desired firewall", () => problem() === "", 15_000);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      drift[Symbol.dispose]();
    },
  };
}

/** An exec port to which the plain iptables is the legacy one, as the system's alternatives can have it. */
export const asLegacy = (exec: FirewallExec): FirewallExec => ({
  run: (command, args, stdin) =>
    exec.run(command.replace(/^(ip6?tables)(?!-legacy|-nft)/, "$1-legacy"), args, stdin),
});
