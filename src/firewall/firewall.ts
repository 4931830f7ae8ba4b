/**
 * Makes the host's firewall equal to the desired rules: checks, and writes only what differs.
 *
 * A check costs one process for nftables, or one per family for iptables. The first `ensure` also deletes the stale rules of
 * another mode, another iptables variant or Go flannel, after the new rules are applied, so that every packet meets one
 * of both. The rules stay on shutdown, so that containers keep their connections.
 */

import type { FamilyName } from "../address/family.ts";
import type { Prefix } from "../address/prefix.ts";
import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { FindingLog } from "./finding-log.ts";
import type { CurrentNetworks } from "./findings.ts";
import type { FirewallExec } from "./firewall-exec.ts";
import { FIREWALL_FAMILIES, type FirewallFamily } from "./names.ts";
import { networkOfRules, withNetwork } from "./ownership.ts";
import {
  type InstalledVariant,
  type IptablesSuffix,
  type IptablesTraits,
  inspectPlace,
  installedVariants,
  iptablesPlace,
  iptablesTraits,
  nftPlace,
  type Place,
  type PlaceNetworks,
} from "./place.ts";
import type { FirewallRules } from "./rules.ts";
import type { TunnelListener } from "./tunnel-packets.ts";

/** Attempts while foreign programs change the rules between dump and write. */
const MAX_ROUNDS = 3;

/** How the firewall is written, and what of it is ours. */
export interface FirewallOptions {
  readonly mode: "iptables" | "nftables";
  readonly exec: FirewallExec;
  readonly logger: Logger;
  /** Default "": the iptables that the system's alternatives choose, which Docker and others on the host use too. */
  readonly iptablesSuffix?: IptablesSuffix;
  /** Networks that this daemon had before, whose rules are stale; rules of any other network are foreign. */
  readonly formerNetworks?: readonly Prefix[];
}

/** What a cleanup removed, or would remove. */
export interface CleanupResult {
  /** One line for each object of flanneld's that was found and, unless it was a dry run, removed. */
  readonly objects: readonly string[];
  /** What could not be read or removed, and why. Missing tools and kernels without a family are no problem. */
  readonly problems: readonly string[];
}

/** What the next `ensure` would change. */
export interface FirewallPreview {
  /** One line for each object that would be created or repaired. */
  readonly changes: readonly string[];
  /** One line for each stale object that would be deleted. */
  readonly leftovers: readonly string[];
}

/** The firewall of this host, for as long as the daemon runs. Its methods throw FirewallError; each table is written at once or not at all. */
export class Firewall {
  readonly #options: FirewallOptions;
  /** Calls run one after the other: a cleanup never meets a half-written ensure. */
  #turn: Promise<unknown> = Promise.resolve();
  #traits: IptablesTraits | undefined;
  #variants: Promise<readonly InstalledVariant[]> | undefined;
  /** The families for which the stale rules are known to be deleted; undefined = not checked yet. */
  #sweptFor: string | undefined;
  #own: Readonly<Record<FamilyName, readonly Prefix[]>>;
  #current: CurrentNetworks = {};
  #listeners: readonly TunnelListener[] = [];
  readonly #findings: FindingLog;

  constructor(options: FirewallOptions) {
    this.#options = options;
    this.#findings = new FindingLog(options.logger);
    const former = options.formerNetworks ?? [];
    this.#own = {
      ipv4: former.filter(({ family }) => family === 4),
      ipv6: former.filter(({ family }) => family === 6),
    };
  }

  /** Whether a finding is of the tables of iptables-legacy, whose changes are not notified. */
  get hasLegacyFindings(): boolean {
    return this.#findings.hasLegacy;
  }

  /** Foreign rules that drop the network's packets in spite of flanneld's accepts, one line each, with the remedy. */
  get findings(): readonly string[] {
    return this.#findings.lines;
  }

  /** Whether the findings, or the place of the jump, depend on a chain of nftables: "inet firewalld filter_FORWARD". */
  isWatched(chain: string): boolean {
    return this.#findings.isWatched(chain);
  }

  get mode(): FirewallOptions["mode"] {
    return this.#options.mode;
  }

  /** Which of the kernel's two firewalls has the rules; undefined before the first rules. */
  get backend(): IptablesTraits["backend"] | undefined {
    return this.#options.mode === "nftables" ? "nf_tables" : this.#traits?.backend;
  }

  /**
   * Makes the firewall equal to `rules`.
   * @param listeners where the tunnel receives packets: rules that drop them are {@link findings}
   * @returns one line for each object that was created, repaired or deleted; empty = in sync, nothing was written.
   * @throws {FirewallError} with the tool's message; the call may be repeated at any time.
   */
  ensure(rules: FirewallRules, listeners: readonly TunnelListener[] = []): Promise<readonly string[]> {
    return this.#inTurn(() => {
      this.#listeners = listeners;
      return this.#ensure(rules);
    });
  }

  /**
   * Updates {@link findings} for the places that have no rules of flanneld, and so are not read by {@link ensure}.
   * @param kind nftables (one process), or the tables of iptables-legacy (one per family)
   */
  audit(kind: "nftables" | "legacy", rules: FirewallRules): Promise<void> {
    return this.#inTurn(async () => {
      for (const place of await this.#idlePlaces(familiesOf(rules))) {
        if (place.kind === kind) this.#findings.note(place, (await inspectPlace(place, this.#networks)).plan);
      }
      this.#findings.report();
    });
  }

  /** What {@link ensure} would do. Throws FirewallError. */
  preview(rules: FirewallRules): Promise<FirewallPreview> {
    return this.#inTurn(async () => {
      this.#adopt(rules);
      const families = familiesOf(rules);
      const active = await this.#activePlaces(families);
      const plans = await Promise.all(active.map((place) => place.plan(rules, this.#networks)));
      const idle = await this.#idlePlaces(families);
      const leftovers = await Promise.all(idle.map((place) => inspectPlace(place, this.#networks)));
      return {
        changes: plans.flatMap((plan) => [...plan.changes, ...(plan.later ?? [])]),
        leftovers: leftovers.flatMap(({ plan }) => plan.changes),
      };
    });
  }

  /** Deletes everything of flanneld's, in every mode, family and network; a dry run only lists it. Never rejects for a tool's failure. */
  cleanup(options: { readonly dryRun: boolean }): Promise<CleanupResult> {
    return this.#inTurn(() => this.#cleanup(options.dryRun));
  }

  /** Waits for the running call. The rules stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {}); // the caller of this turn handles the error; the next turn does not depend on it
    return result;
  }

  get #networks(): PlaceNetworks {
    return { own: this.#own, current: this.#current, listeners: this.#listeners };
  }

  /** From now on the networks of these rules are ours, also when they are no longer desired. */
  #adopt(rules: FirewallRules): void {
    this.#current = { ipv4: networkOfRules(rules.ipv4), ipv6: networkOfRules(rules.ipv6) };
    this.#own = {
      ipv4: withNetwork(this.#own.ipv4, this.#current.ipv4),
      ipv6: withNetwork(this.#own.ipv6, this.#current.ipv6),
    };
  }

  async #ensure(rules: FirewallRules): Promise<string[]> {
    this.#adopt(rules);
    const wantedFamilies = familiesOf(rules);
    const changes: string[] = [];
    const sweepKey = wantedFamilies.map(({ key }) => key).join();
    if (this.#sweptFor !== sweepKey) this.#findings.clear();
    for (const place of await this.#activePlaces(wantedFamilies))
      changes.push(...(await this.#bring(place, rules)));
    if (this.#sweptFor !== sweepKey) {
      const { objects, isComplete } = await this.#sweep(wantedFamilies);
      changes.push(...objects);
      if (isComplete) this.#sweptFor = sweepKey;
    }
    this.#findings.report();
    return changes;
  }

  /** Applies the plan; again if it was the first of two steps, or the rules changed meanwhile. */
  async #bring(place: Place, wanted: FirewallRules): Promise<readonly string[]> {
    const changes: string[] = [];
    for (let round = 1; ; round++) {
      const plan = await place.plan(wanted, this.#networks);
      this.#findings.note(place, plan);
      if (plan.script === "") return changes;
      try {
        await place.apply(plan.script);
        changes.push(...plan.changes);
        if (plan.later === undefined) return changes;
      } catch (error) {
        if (!hasCode(error, "FIREWALL_REFUSED") || round >= MAX_ROUNDS) throw error;
      }
    }
  }

  async #activePlaces(families: readonly FirewallFamily[]): Promise<Place[]> {
    if (families.length === 0) return [];
    const { exec, mode, iptablesSuffix = "", logger } = this.#options;
    if (mode === "nftables") return [nftPlace(exec, "all")];
    if (this.#traits === undefined) {
      this.#traits = await iptablesTraits(exec, iptablesSuffix);
      if (!this.#traits.isAtLeast162) {
        logger.info(
          "iptables before 1.6.2 has no --random-fully; masquerading keeps source ports where it can",
        );
      }
    }
    return families.map((family) => iptablesPlace(exec, family, iptablesSuffix, this.#traits!));
  }

  /** Deletes what is stale in all other places. A place that cannot be read (no such tool or family) has no rules of ours. */
  async #sweep(
    wantedFamilies: readonly FirewallFamily[],
  ): Promise<{ objects: string[]; isComplete: boolean }> {
    const { logger } = this.#options;
    const objects: string[] = [];
    let isComplete = true;
    for (const place of await this.#idlePlaces(wantedFamilies)) {
      const { plan, problem } = await inspectPlace(place, this.#networks);
      if (problem !== undefined) logger.debug(`Failed to check ${place.name} for stale rules: ${problem}`);
      if (place.kind !== "iptables-nft") this.#findings.note(place, plan); // nftables shows these tables too
      if (plan.script === "") continue;
      try {
        await place.apply(plan.script);
        objects.push(...plan.changes);
      } catch (error) {
        isComplete = false;
        logger.warn(
          `Failed to delete stale rules in ${place.name}; retrying at the next check: ${messageOf(error)}`,
        );
      }
    }
    return { objects, isComplete };
  }

  async #idlePlaces(wantedFamilies: readonly FirewallFamily[]): Promise<Place[]> {
    const { exec, mode } = this.#options;
    this.#variants ??= installedVariants(exec);
    const usesIptables = mode === "iptables" && wantedFamilies.length > 0;
    const activeBackend = usesIptables ? this.#traits!.backend : undefined;
    const places: Place[] = [];
    const usesNft = mode === "nftables" && wantedFamilies.length > 0;
    if (!usesNft) places.push(nftPlace(exec, activeBackend === "nf_tables" ? "own" : "all"));
    for (const { suffix, traits } of await this.#variants) {
      // the plan of nftables covers the tables of iptables-nft
      if (usesNft && traits.backend === "nf_tables") continue;
      const families = FIREWALL_FAMILIES.filter(
        (family) => traits.backend !== activeBackend || !wantedFamilies.includes(family),
      );
      places.push(...families.map((family) => iptablesPlace(exec, family, suffix, traits, usesNft)));
    }
    return places;
  }

  async #cleanup(dryRun: boolean): Promise<CleanupResult> {
    const { exec } = this.#options;
    const objects: string[] = [];
    const problems: string[] = [];
    const variants = await installedVariants(exec);
    const places = variants.flatMap(({ suffix, traits }) =>
      FIREWALL_FAMILIES.map((family) => iptablesPlace(exec, family, suffix, traits)),
    );
    const hasIptablesNft = variants.some(({ traits }) => traits.backend === "nf_tables");
    for (const place of [...places, nftPlace(exec, hasIptablesNft ? "own" : "all")]) {
      const { plan, problem } = await inspectPlace(place, { own: undefined, current: {}, listeners: [] });
      if (problem !== undefined) problems.push(`${place.name}: ${problem}`);
      try {
        if (plan.script !== "" && !dryRun) await place.apply(plan.script);
        objects.push(...plan.changes.map((change) => `${place.name}: ${change}`));
      } catch (error) {
        problems.push(`${place.name}: ${messageOf(error)}`);
      }
    }
    return { objects, problems };
  }
}

const familiesOf = (rules: FirewallRules): FirewallFamily[] =>
  FIREWALL_FAMILIES.filter(({ key }) => rules[key].masquerade.length + rules[key].forward.length > 0);
