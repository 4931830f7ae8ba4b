/**
 * Keeps the host's firewall equal to the rules wanted: looks, and writes only what differs.
 *
 * A look costs one process for nftables, or one per family for iptables. The first `ensure` also takes away what another
 * mode, another iptables variant or Go flannel left behind; after the new rules are in place, so that no packet meets
 * neither. Rules stay when flanneld stops: containers go on talking.
 */

import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { FirewallError, type FirewallExec } from "./firewall-exec.ts";
import type { FirewallPlan } from "./iptables-plan.ts";
import { FIREWALL_FAMILIES, type FirewallFamily } from "./names.ts";
import {
  type IptablesSuffix,
  type IptablesTraits,
  iptablesPlace,
  iptablesTraits,
  nftPlace,
  type Place,
} from "./place.ts";
import { type FirewallRules, NO_RULES } from "./rules.ts";

/** How often a place may change under our hands. */
const MAX_ROUNDS = 3;

export interface FirewallOptions {
  readonly mode: "iptables" | "nftables";
  readonly exec: FirewallExec;
  readonly logger: Logger;
  /** Default "": the iptables that the system's alternatives choose, as Docker and everybody else on the host do. */
  readonly iptablesSuffix?: IptablesSuffix;
}

export interface CleanupResult {
  /** One line for each object of ours that was found, and, unless it was a dry run, removed. */
  readonly objects: readonly string[];
  /** What could not be looked at or removed, and why. Missing tools and kernels without a family are no problem. */
  readonly problems: readonly string[];
}

export interface FirewallPreview {
  readonly changes: readonly string[];
  readonly leftovers: readonly string[];
}

export class Firewall {
  readonly #options: FirewallOptions;
  /** Calls take turns: a cleanup never meets a half-written ensure. */
  #turn: Promise<unknown> = Promise.resolve();
  #traits: IptablesTraits | undefined;
  /** The families for which leftovers are known to be gone; undefined = not looked yet. */
  #sweptFor: string | undefined;

  constructor(options: FirewallOptions) {
    this.#options = options;
  }

  get mode(): FirewallOptions["mode"] {
    return this.#options.mode;
  }

  /** Which of the kernel's two firewalls holds the rules; undefined before the first rules. */
  get backend(): IptablesTraits["backend"] | undefined {
    return this.#options.mode === "nftables" ? "nf_tables" : this.#traits?.backend;
  }

  /**
   * Makes the firewall equal to `rules`.
   * @returns one line for each object that was made, mended or taken away; empty = all was right, nothing was written.
   * @throws {FirewallError} with what the tool said; the call may be repeated at any time.
   */
  ensure(rules: FirewallRules): Promise<readonly string[]> {
    return this.#inTurn(() => this.#ensure(rules));
  }

  /** What {@link ensure} would do: the lines on what it would make or mend, and on what it would take away. Throws FirewallError. */
  preview(rules: FirewallRules): Promise<FirewallPreview> {
    return this.#inTurn(async () => {
      const families = familiesOf(rules);
      const active = await this.#activePlaces(families);
      const plans = await Promise.all(active.map((place) => place.plan(rules)));
      const idle = await this.#idlePlaces(families);
      const leftovers = await Promise.all(idle.map((place) => lookAt(place)));
      return {
        changes: plans.flatMap((plan) => [...plan.changes, ...(plan.later ?? [])]),
        leftovers: leftovers.flatMap(({ plan }) => plan.changes),
      };
    });
  }

  /** Takes everything of ours, in every mode and family, off the host; a dry run only names it. Never rejects for a tool's failure. */
  cleanup(options: { readonly dryRun: boolean }): Promise<CleanupResult> {
    return this.#inTurn(() => this.#cleanup(options.dryRun));
  }

  /** Waits until the work under way is done. The rules stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {}); // the caller of this turn has the error; the next turn does not depend on it
    return result;
  }

  async #ensure(rules: FirewallRules): Promise<string[]> {
    const wantedFamilies = familiesOf(rules);
    const changes: string[] = [];
    for (const place of await this.#activePlaces(wantedFamilies))
      changes.push(...(await bring(place, rules)));
    const sweepKey = wantedFamilies.map(({ key }) => key).join();
    if (this.#sweptFor !== sweepKey) {
      const { objects, isComplete } = await this.#sweep(wantedFamilies);
      changes.push(...objects);
      if (isComplete) this.#sweptFor = sweepKey;
    }
    return changes;
  }

  async #activePlaces(families: readonly FirewallFamily[]): Promise<Place[]> {
    if (families.length === 0) return [];
    const { exec, mode, iptablesSuffix = "", logger } = this.#options;
    if (mode === "nftables") return [nftPlace(exec, "all")];
    if (this.#traits === undefined) {
      this.#traits = await iptablesTraits(exec, iptablesSuffix);
      if (!this.#traits.isAtLeast162) {
        logger.info(
          "this iptables has no --random-fully (1.6.2 does): masquerade keeps source ports where it can",
        );
      }
    }
    return families.map((family) => iptablesPlace(exec, family, iptablesSuffix, this.#traits!));
  }

  /**
   * Takes away what the active places do not look after. A place that cannot be read (no such tool, a kernel without
   * the family) holds nothing of ours.
   */
  async #sweep(
    wantedFamilies: readonly FirewallFamily[],
  ): Promise<{ objects: string[]; isComplete: boolean }> {
    const { logger, mode } = this.#options;
    const objects: string[] = [];
    let isComplete = true;
    for (const place of await this.#idlePlaces(wantedFamilies)) {
      const { plan, problem } = await lookAt(place);
      if (problem !== undefined) logger.debug(`looking for leftovers: ${place.name}: ${problem}`);
      if (plan.dropsForwarded && mode === "nftables" && place.isLegacy)
        logger.warn(legacyDropText(place.name));
      if (plan.script === "") continue;
      try {
        await place.apply(plan.script);
        objects.push(...plan.changes);
      } catch (error) {
        isComplete = false; // the next ensure tries again
        logger.warn(`leftovers in ${place.name} are still there: ${messageOf(error)}`);
      }
    }
    return { objects, isComplete };
  }

  async #idlePlaces(wantedFamilies: readonly FirewallFamily[]): Promise<Place[]> {
    const { exec, mode } = this.#options;
    const usesIptables = mode === "iptables" && wantedFamilies.length > 0;
    const activeBackend = usesIptables ? this.#traits!.backend : undefined;
    const places: Place[] = [];
    const usesNft = mode === "nftables" && wantedFamilies.length > 0;
    if (!usesNft) places.push(nftPlace(exec, activeBackend === "nf_tables" ? "own" : "all"));
    for (const { suffix, traits } of await installedVariants(exec)) {
      // nftables mode itself looks after the tables of iptables-nft
      if (usesNft && traits.backend === "nf_tables") continue;
      const families = FIREWALL_FAMILIES.filter(
        (family) => traits.backend !== activeBackend || !wantedFamilies.includes(family),
      );
      places.push(...families.map((family) => iptablesPlace(exec, family, suffix, traits)));
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
      const { plan, problem } = await lookAt(place);
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

/** Looks and, if something differs, writes; again if that was only the first half, or the place changed meanwhile. */
async function bring(place: Place, wanted: FirewallRules): Promise<readonly string[]> {
  const changes: string[] = [];
  for (let round = 1; ; round++) {
    const plan = await place.plan(wanted);
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

/** What there is to take away; nothing, if there is no such tool. */
async function lookAt(place: Place): Promise<{ plan: FirewallPlan; problem: string | undefined }> {
  try {
    return { plan: await place.plan(NO_RULES), problem: undefined };
  } catch (error) {
    if (!(error instanceof FirewallError)) throw error;
    const problem = hasCode(error, "FIREWALL_TOOL_MISSING") ? undefined : error.message;
    return { plan: { script: "", changes: [], dropsForwarded: false }, problem };
  }
}

/** Both variants by name, and the plain one where it is neither of them (systems from before the two). */
async function installedVariants(
  exec: FirewallExec,
): Promise<{ readonly suffix: IptablesSuffix; readonly traits: IptablesTraits }[]> {
  const found: { suffix: IptablesSuffix; traits: IptablesTraits }[] = [];
  for (const suffix of ["-nft", "-legacy", ""] as const) {
    try {
      const traits = await iptablesTraits(exec, suffix);
      if (!found.some((other) => other.traits.backend === traits.backend)) found.push({ suffix, traits });
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
    }
  }
  return found;
}

const legacyDropText = (tool: string): string =>
  `${tool} drops forwarded packets, which nftables rules cannot overrule: containers of different hosts will not reach ` +
  `each other. Switch the host (and Docker) to iptables-nft, or set "EnableNFTables": false in the network config`;
