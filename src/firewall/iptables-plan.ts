/**
 * The difference between the rules wanted and what `iptables-save` shows, as input for `iptables-restore --noflush`
 * (iptables-restore(8)): a table is committed at once or not at all, and chains that are not named are not touched.
 */

import { formatPrefix } from "../address/prefix.ts";
import { parseIptablesRule, type SavedChain, type SavedTables, splitComment } from "./iptables-save.ts";
import { type HookEntry, ownEntries, placeJump } from "./jump.ts";
import { CHAINS, type ChainNames, DOCKER_FORWARD, ROLES } from "./names.ts";
import { type AddressMatch, type FamilyRules, type FirewallRule, sameRules, type Verdict } from "./rules.ts";

/** What to feed to the tool, and one line for the operator on each object that it makes, mends or takes away. */
export interface FirewallPlan {
  /** Empty: all is as wanted, nothing must be run. */
  readonly script: string;
  readonly changes: readonly string[];
  /** The shared FORWARD chain drops what nobody accepts. */
  readonly dropsForwarded: boolean;
  /** What has to go once this is in place, by a plan of its own; one line each, as `changes`. */
  readonly later?: readonly string[];
}

/** Plans one family. With no rules wanted the plan takes everything of ours away. */
export function planIptables(wanted: FamilyRules, seen: SavedTables): FirewallPlan {
  let script = "";
  const changes: string[] = [];
  for (const role of ROLES) {
    const names = CHAINS[role];
    const chains = seen.get(names.table) ?? new Map<string, SavedChain>();
    const lines =
      wanted[role].length > 0 ? mend(names, wanted[role], chains, changes) : remove(names, chains, changes);
    if (lines.length > 0) script += [`*${names.table}`, ...lines, "COMMIT", ""].join("\n");
  }
  return { script, changes, dropsForwarded: dropsForwarded(seen) };
}

function mend(
  names: ChainNames,
  wanted: readonly FirewallRule[],
  chains: ReadonlyMap<string, SavedChain>,
  changes: string[],
): string[] {
  const lines: string[] = [];
  const { chain, hook, table } = names;
  const found = chains.get(chain);
  if (found === undefined || !sameRules(wanted, found.rules.map(parseIptablesRule))) {
    changes.push(`${table} chain ${chain} (${found === undefined ? "missing" : "other rules"})`);
    // naming a chain of our own empties it, also under --noflush
    lines.push(
      `:${chain} - [0:0]`,
      ...wanted.map((rule) => `-A ${chain} ${renderRule(rule, names.comment)}`),
    );
  }
  const shared = chains.get(hook)?.rules ?? [];
  const change = placeJump(shared.map((text) => hookEntry(text, names)));
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
  return lines;
}

function remove(names: ChainNames, chains: ReadonlyMap<string, SavedChain>, changes: string[]): string[] {
  const lines: string[] = [];
  const { chain, hook, table } = names;
  for (const [name, { rules }] of chains) {
    const entries = rules.map((text) => hookEntry(text, names));
    for (const index of name === chain ? [] : ownEntries(entries)) {
      // elsewhere only what would keep our chain from going away; comments alone prove ownership in the hook only
      if (name !== hook && !jumpsTo(rules[index]!, chain)) continue;
      changes.push(`${table} rule -A ${name} ${rules[index]}`);
      lines.push(`-D ${name} ${rules[index]}`);
    }
  }
  if (chains.has(chain)) {
    changes.push(`${table} chain ${chain}`);
    lines.unshift(`:${chain} - [0:0]`);
    lines.push(`-X ${chain}`);
  }
  return lines;
}

function dropsForwarded(seen: SavedTables): boolean {
  const names = CHAINS.forward;
  const hook = seen.get(names.table)?.get(names.hook);
  return (
    hook?.policy === "DROP" || (hook?.rules.some((text) => hookEntry(text, names) === "barrier") ?? false)
  );
}

/** What a rule of a shared chain is to us. Go flannel before 0.20 wrote its rules straight in there: the comment tells. */
function hookEntry(text: string, names: ChainNames): HookEntry {
  const { comment, args } = splitComment(text);
  if (jumpsTo(text, names.chain)) return args.length === 2 ? "jump" : "stale";
  if (comment === names.comment) return "stale";
  return names.table === "filter" && isBarrier(args) ? "barrier" : "foreign";
}

function jumpsTo(text: string, chain: string): boolean {
  const { args } = splitComment(text);
  const at = args.findIndex((arg) => arg === "-j" || arg === "-g");
  return at >= 0 && args[at + 1] === chain;
}

const isBarrier = (args: readonly string[]): boolean =>
  args[0] === "-j" && (args[1] === "DROP" || args[1] === "REJECT" || args[1] === DOCKER_FORWARD);

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
