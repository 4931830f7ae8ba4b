/**
 * The difference between the desired rules and what `iptables-save` prints, as input for `iptables-restore --noflush`
 * (iptables-restore(8)): a table is committed at once or not at all, and chains that are not named are not touched.
 */

import { formatPrefix, type Prefix } from "../address/prefix.ts";
import { findIptablesDrops, type IptablesDrop } from "./findings.ts";
import { parseIptablesRule, type SavedChain, type SavedTables, splitComment } from "./iptables-save.ts";
import { iptablesChains, readIptablesRule } from "./iptables-walk.ts";
import { acceptsAt, type HookEntry, ownEntries, placeJump } from "./jump.ts";
import { CHAINS, type ChainNames, DOCKER_FORWARD, isOwnName, ROLES } from "./names.ts";
import { networkPackets } from "./network-packets.ts";
import {
  type ChainOwners,
  chooseName,
  type FamilyNetworks,
  isForeignRule,
  isOurs,
  networkOfRule,
  networkOfRules,
  ownersOf,
} from "./ownership.ts";
import { type AddressMatch, type FamilyRules, type FirewallRule, sameRules, type Verdict } from "./rules.ts";
import { Walker } from "./walk.ts";

/** Input for the tool, and one line for the operator on each object that it creates, repairs or deletes. */
export interface FirewallPlan {
  /** Empty: in sync, nothing needs to run. */
  readonly script: string;
  readonly changes: readonly string[];
  /** Removals for a second plan, after this one is applied; one line each, as `changes`. */
  readonly later?: readonly string[];
  /** Foreign rules that drop the network's packets in spite of flanneld's, one line each. */
  readonly findings: readonly string[];
  /** Chains of nftables ("ip filter FORWARD") whose rules the findings, or the place of the jump, depend on. */
  readonly watched: ReadonlySet<string>;
}

/** What to write, and what the walk through the host's rules found. An empty `script` means: in sync. */
export interface IptablesPlan {
  readonly script: string;
  readonly changes: readonly string[];
  readonly drops: readonly IptablesDrop[];
  /** Chains of the filter table that the walk of FORWARD passes. */
  readonly walked: ReadonlySet<string>;
}

/** Which rules are ours, and whose packets the walk follows. */
export interface IptablesScope {
  /** The networks whose rules are ours; undefined = all. */
  readonly networks: FamilyNetworks;
  /** This daemon's network, whose drops are findings; undefined = that of the rules. */
  readonly network: Prefix | undefined;
}

const ALL_NETWORKS: IptablesScope = { networks: undefined, network: undefined };

/** Plans one family. Without desired rules the plan deletes everything of ours. */
export function planIptables(
  wanted: FamilyRules,
  seen: SavedTables,
  { networks, network = networkOfRules(wanted) }: IptablesScope = ALL_NETWORKS,
): IptablesPlan {
  let script = "";
  const changes: string[] = [];
  let forwardAt: number | undefined;
  const walked = new Set<string>();
  for (const role of ROLES) {
    const names = CHAINS[role];
    const chains = seen.get(names.table) ?? new Map<string, SavedChain>();
    const table = new TablePlan({ names, chains, networks, network, changes, walked });
    const { lines, jumpAt } = table.plan(wanted[role]);
    if (role === "forward") forwardAt = jumpAt;
    if (lines.length > 0) script += [`*${names.table}`, ...lines, "COMMIT", ""].join("\n");
  }
  const drops = network === undefined ? [] : findIptablesDrops(seen, network, forwardAt);
  return { script, changes, drops, walked };
}

interface TableContext {
  readonly names: ChainNames;
  readonly chains: ReadonlyMap<string, SavedChain>;
  readonly networks: FamilyNetworks;
  readonly network: Prefix | undefined;
  readonly changes: string[];
  readonly walked: Set<string>;
}

/** One table of one family. */
class TablePlan {
  readonly #context: TableContext;
  readonly #owners: ReadonlyMap<string, ChainOwners & { readonly isInUse: boolean }>;
  #chosen: string | undefined;

  constructor(context: TableContext) {
    this.#context = context;
    const { names, chains, networks } = context;
    const hook = chains.get(names.hook)?.rules ?? [];
    const own = [...chains].filter(([name]) => isOwnName(name, names.chain));
    this.#owners = new Map(
      own.map(([name, { rules }]) => [
        name,
        {
          ...ownersOf(rules.map(parseIptablesRule), networks),
          isInUse: hook.some((text) => targetOf(text) === name),
        },
      ]),
    );
  }

  /** The lines, and the index of the hook's rules (as they are now) where the jump stands or will stand. */
  plan(wanted: readonly FirewallRule[]): { lines: string[]; jumpAt: number | undefined } {
    const { names } = this.#context;
    const network = networkOfRules({ forward: wanted, masquerade: [] });
    this.#chosen = network && chooseName(names.chain, network, this.#owners);
    const lines: string[] = [];
    let jumpAt: number | undefined;
    if (this.#chosen !== undefined) jumpAt = this.#repair(this.#chosen, wanted, lines);
    this.#remove(lines);
    return { lines, jumpAt };
  }

  #repair(chain: string, wanted: readonly FirewallRule[], lines: string[]): number {
    const { names, chains, changes, walked } = this.#context;
    const { hook, table } = names;
    const found = chains.get(chain);
    const texts = found?.rules ?? [];
    // of a chain that nothing leads to nothing is kept
    const foreign = this.#owners.get(chain)?.isInUse ? texts.filter((text) => this.#isForeign(text)) : [];
    if (found === undefined || !sameRules(wanted, this.#ownRules(texts, foreign))) {
      changes.push(`${table} chain ${chain} (${found === undefined ? "missing" : "other rules"})`);
      // naming a chain that is not built in empties it, also under --noflush
      lines.push(
        `:${chain} - [0:0]`,
        ...wanted.map((rule) => `-A ${chain} ${renderRule(rule, names.comment)}`),
        ...foreign.map((text) => `-A ${chain} ${text}`),
      );
    }
    const shared = chains.get(hook)?.rules ?? [];
    const entries = this.#hookEntries(shared, walked);
    const change = placeJump(entries);
    if (change !== undefined) {
      changes.push(
        `${table} jump from ${hook} to ${chain} (${change.remove.length === 0 ? "missing" : "misplaced"})`,
      );
      lines.push(...change.remove.map((index) => `-D ${hook} ${shared[index]}`));
      const jump = `-m comment --comment "${names.comment}" -j ${chain}`;
      const { before, remove } = change;
      const position =
        before === undefined ? undefined : before - remove.filter((index) => index < before).length + 1;
      lines.push(position === undefined ? `-A ${hook} ${jump}` : `-I ${hook} ${position} ${jump}`);
    }
    return acceptsAt(entries, change);
  }

  /** The rules of our chain that are not another network's; of a rule without network the duplicate is. */
  #ownRules(texts: readonly string[], foreign: readonly string[]): (FirewallRule | undefined)[] {
    const rules = texts.filter((text) => !foreign.includes(text)).map(parseIptablesRule);
    const isDuplicate = (rule: FirewallRule | undefined, index: number) =>
      rule !== undefined &&
      networkOfRule(rule) === undefined &&
      rules.slice(0, index).some((other) => other !== undefined && sameRules([rule], [other]));
    return foreign.length > 0 ? rules.filter((rule, index) => !isDuplicate(rule, index)) : rules;
  }

  /** A rule that another network's daemon wrote, by its comment. */
  #isForeign(text: string): boolean {
    const { networks, names } = this.#context;
    return splitComment(text).comment === names.comment && isForeignRule(parseIptablesRule(text), networks);
  }

  /** Deletes chains of ours that are not the chosen one, and, if there is none, our rules in the hook. */
  #remove(lines: string[]): void {
    const { names, chains, changes } = this.#context;
    const { table, hook } = names;
    const stale = [...this.#owners].filter(([name, owners]) => name !== this.#chosen && isOurs(owners));
    const mixed = new Set(stale.filter(([, { hasForeign }]) => hasForeign).map(([name]) => name));
    const gone = stale.map(([name]) => name).filter((name) => !mixed.has(name));
    for (const name of mixed) {
      for (const text of chains.get(name)!.rules.filter((rule) => !this.#isForeign(rule))) {
        if (networkOfRule(parseIptablesRule(text)) === undefined) continue;
        changes.push(`${table} rule -A ${name} ${text}`);
        lines.push(`-D ${name} ${text}`);
      }
    }
    for (const [name, { rules }] of chains) {
      if (gone.includes(name)) continue;
      const isHook = name === hook;
      // the plan of the jump deletes what is stale in the hook
      if (isHook && this.#chosen !== undefined) continue;
      const entries = isHook ? this.#hookEntries(rules) : undefined;
      const indices =
        entries === undefined
          ? rules.flatMap((text, index) => (gone.includes(targetOf(text) ?? "") ? [index] : []))
          : ownEntries(entries);
      for (const index of indices) {
        changes.push(`${table} rule -A ${name} ${rules[index]}`);
        lines.push(`-D ${name} ${rules[index]}`);
      }
    }
    for (const name of gone) {
      changes.push(`${table} chain ${name}`);
      lines.unshift(`:${name} - [0:0]`);
      lines.push(`-X ${name}`);
    }
  }

  /** What the rules of the hook are to us. Go flannel before 0.20 wrote its rules there, marked by the comment. */
  #hookEntries(rules: readonly string[], walked?: Set<string>): HookEntry[] {
    const { names, chains, network } = this.#context;
    const walker =
      names.table !== "filter" || network === undefined
        ? undefined
        : new Walker(iptablesChains(chains), networkPackets(network));
    const hasDropPolicy = chains.get(names.hook)?.policy === "DROP";
    const entries = rules.map((text): HookEntry => {
      const { comment, args } = splitComment(text);
      const target = targetOf(text);
      const owners = target === undefined ? undefined : this.#owners.get(target);
      if (target === this.#chosen && target !== undefined) return args.length === 2 ? "jump" : "stale";
      if (owners !== undefined) return isOurs(owners) && !owners.hasForeign ? "stale" : "foreign";
      if (target !== undefined && target === names.chain) return args.length === 2 ? "jump" : "stale";
      if (comment === names.comment) return this.#isForeign(text) ? "foreign" : "stale";
      if (walker === undefined) return "foreign";
      if (args[0] === "-j" && args[1] === DOCKER_FORWARD) return "barrier";
      return walker.blocks(readIptablesRule(text), hasDropPolicy) ? "barrier" : "foreign";
    });
    for (const chain of walker?.visited ?? []) walked?.add(chain);
    return entries;
  }
}

/** The chain or target that a rule leads to. */
function targetOf(text: string): string | undefined {
  const { args } = splitComment(text);
  const at = args.findIndex((arg) => arg === "-j" || arg === "-g");
  return at < 0 ? undefined : args[at + 1];
}

const TARGETS: Readonly<Record<Verdict, string>> = {
  accept: "ACCEPT",
  return: "RETURN",
  masquerade: "MASQUERADE",
  "masquerade-random": "MASQUERADE --random-fully",
};

function renderRule(rule: FirewallRule, comment: string): string {
  const mark = rule.mark === undefined ? "" : `0x${rule.mark.toString(16)}`;
  return [
    renderMatch("-s", rule.source),
    renderMatch("-d", rule.destination),
    mark === "" ? "" : `-m mark --mark ${mark}/${mark}`,
    `-m comment --comment "${comment}"`,
    `-j ${TARGETS[rule.verdict]}`,
  ]
    .filter((part) => part !== "")
    .join(" ");
}

const renderMatch = (flag: string, match: AddressMatch | undefined): string =>
  match === undefined ? "" : `${match.negated ? "! " : ""}${flag} ${formatPrefix(match.prefix)}`;
