/**
 * The difference between the rules wanted and the ruleset that nft lists, as one script for `nft -f -`, which the kernel
 * takes as one transaction: no packet ever meets half of it (nft(8)).
 *
 * Our rules live in tables of our own, `ip flannel-ipv4` and `ip6 flannel-ipv6`, which are replaced as a whole. One thing
 * cannot be done from there: in nftables a drop is final, an accept only ends its own base chain. So where the shared
 * `filter` table, the one that iptables-nft keeps, drops forwarded packets (as it does under Docker), the accepts have
 * to stand in that table too; they are exactly what iptables mode would write, and go when nothing drops any more.
 */

import { formatPrefix } from "../address/prefix.ts";
import type { FirewallPlan } from "./iptables-plan.ts";
import { type HookEntry, ownEntries, placeJump } from "./jump.ts";
import {
  CHAINS,
  type ChainNames,
  DOCKER_FORWARD,
  FIREWALL_FAMILIES,
  type FirewallFamily,
  ROLES,
} from "./names.ts";
import {
  dropsByPolicy,
  isBaseChain,
  type NftRule,
  type NftRuleset,
  type NftTable,
  parseNftRule,
} from "./nft-listing.ts";
import type { AddressMatch, FamilyRules, FirewallRule, FirewallRules, Verdict } from "./rules.ts";
import { sameRules } from "./rules.ts";

/**
 * `own`: only the tables of our own, when iptables mode looks after the rest. `all`: also what iptables mode, ours or Go
 * flannel's, left in the tables of iptables-nft, and the accepts that Docker's drop calls for.
 */
export type NftScope = "own" | "all";

/** Plans both families; empty if all is as wanted. With no rules wanted the plan takes everything of ours away. */
export function planNft(wanted: FirewallRules, seen: NftRuleset, scope: NftScope): FirewallPlan {
  const lines: string[] = [];
  const changes: string[] = [];
  const removals: string[] = [];
  const removed: string[] = [];
  let drops = false;
  for (const family of FIREWALL_FAMILIES) {
    planOwnTable(family, wanted[family.key], seen, lines, changes);
    if (scope === "own") continue;
    for (const role of ROLES) {
      const names = CHAINS[role];
      const table = seen.get(`${family.nft} ${names.table}`);
      if (table === undefined) continue;
      const place: SharedPlace = { address: `${family.nft} ${names.table}`, names, table, family };
      const rules = wanted[family.key][role];
      const placeDrops = dropsForwarded(place);
      drops ||= placeDrops;
      if (rules.length > 0 && placeDrops) mendShared(place, rules, lines, changes);
      else removeShared(place, removals, removed);
    }
  }
  const isMade =
    lines.length > 0 &&
    ROLES.some((role) => FIREWALL_FAMILIES.some(({ key }) => wanted[key][role].length > 0));
  if (isMade && removals.length > 0) {
    // Not in one transaction: a packet on its way through two base chains of one hook can meet the new one from before
    // it and the old one from after it, and so neither.
    return { script: scriptOf(lines), changes, dropsForwarded: drops, later: removed };
  }
  return {
    script: scriptOf([...lines, ...removals]),
    changes: [...changes, ...removed],
    dropsForwarded: drops,
  };
}

const scriptOf = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");

function planOwnTable(
  family: FirewallFamily,
  wanted: FamilyRules,
  seen: NftRuleset,
  lines: string[],
  changes: string[],
): void {
  const address = `${family.nft} ${family.nftTable}`;
  const found = seen.get(address);
  const roles = ROLES.filter((role) => wanted[role].length > 0);
  if (roles.length === 0 ? found === undefined : found !== undefined && isOwnTableRight(found, wanted))
    return;
  const state = found === undefined ? "missing" : "other rules";
  changes.push(`nftables table ${address}${roles.length === 0 ? "" : ` (${state})`}`);
  // adding first makes deleting safe whether or not the table is there
  lines.push(`add table ${address}`, `delete table ${address}`);
  if (roles.length > 0) lines.push(renderNftTable(family, wanted));
}

function isOwnTableRight(found: NftTable, wanted: FamilyRules): boolean {
  const roles = ROLES.filter((role) => wanted[role].length > 0);
  if (found.hasOthers || found.chains.size !== roles.length) return false;
  return roles.every((role) => {
    const names = CHAINS[role];
    const chain = found.chains.get(names.nftChain);
    if (chain === undefined) return false;
    const priorities = [String(names.nftPriority), names.nftPriorityName];
    if (!isBaseChain(chain, names.nftType, names.nftHook, priorities)) return false;
    return sameRules(wanted[role], chain.rules.map(parseNftRule));
  });
}

/** The table of one family, as nft reads it. */
function renderNftTable(family: FirewallFamily, wanted: FamilyRules): string {
  const lines = [`table ${family.nft} ${family.nftTable} {`];
  for (const role of ROLES) {
    const names = CHAINS[role];
    if (wanted[role].length === 0) continue;
    lines.push(`  chain ${names.nftChain} {`);
    lines.push(
      `    type ${names.nftType} hook ${names.nftHook} priority ${names.nftPriority}; policy accept;`,
    );
    for (const rule of wanted[role]) lines.push(`    ${renderRule(family, rule)} comment "${names.comment}"`);
    lines.push("  }");
  }
  return [...lines, "}"].join("\n");
}

/** One of the tables that iptables-nft keeps, in one family. */
interface SharedPlace {
  readonly address: string;
  readonly names: ChainNames;
  readonly table: NftTable;
  readonly family: FirewallFamily;
}

function dropsForwarded({ names, table }: SharedPlace): boolean {
  const hook = table.chains.get(names.hook);
  if (names.table !== "filter" || hook === undefined) return false;
  return dropsByPolicy(hook) || hook.rules.some((rule) => hookEntry(rule, names) === "barrier");
}

function mendShared(
  place: SharedPlace,
  wanted: readonly FirewallRule[],
  lines: string[],
  changes: string[],
): void {
  const { address, names, table, family } = place;
  const found = table.chains.get(names.chain);
  if (found === undefined || !sameRules(wanted, found.rules.map(parseNftRule))) {
    changes.push(
      `nftables chain ${address} ${names.chain} (${found === undefined ? "missing" : "other rules"})`,
    );
    lines.push(`add chain ${address} ${names.chain}`, `flush chain ${address} ${names.chain}`);
    for (const rule of wanted) {
      lines.push(
        `add rule ${address} ${names.chain} ${renderRule(family, rule, "counter ")} comment "${names.comment}"`,
      );
    }
  }
  const shared = table.chains.get(names.hook)!.rules;
  const change = placeJump(shared.map((rule) => hookEntry(rule, names)));
  if (change === undefined) return;
  const state = change.remove.length === 0 ? "missing" : "misplaced";
  changes.push(`nftables jump from ${address} ${names.hook} to ${names.chain} (${state})`);
  for (const index of change.remove) lines.push(deleteRule(place, names.hook, shared[index]!));
  const position = change.before === undefined ? "" : ` handle ${shared[change.before]!.handle}`;
  const verb = change.before === undefined ? "add" : "insert";
  lines.push(
    `${verb} rule ${address} ${names.hook}${position} counter jump ${names.chain} comment "${names.comment}"`,
  );
}

function removeShared(place: SharedPlace, lines: string[], changes: string[]): void {
  const { address, names, table } = place;
  for (const [name, { rules }] of table.chains) {
    const entries = rules.map((rule) => hookEntry(rule, names));
    for (const index of name === names.chain ? [] : ownEntries(entries)) {
      const rule = rules[index]!;
      // elsewhere only what would keep our chain from going away; comments alone prove ownership in the hook only
      if (name !== names.hook && !jumpsTo(rule, names.chain)) continue;
      changes.push(`nftables rule ${address} ${name} ${rule.body}`);
      lines.push(deleteRule(place, name, rule));
    }
  }
  if (!table.chains.has(names.chain)) return;
  changes.push(`nftables chain ${address} ${names.chain}`);
  lines.push(`flush chain ${address} ${names.chain}`, `delete chain ${address} ${names.chain}`);
}

const deleteRule = (place: SharedPlace, chain: string, rule: NftRule): string =>
  `delete rule ${place.address} ${chain} handle ${rule.handle}`;

function hookEntry(rule: NftRule, names: ChainNames): HookEntry {
  if (jumpsTo(rule, names.chain)) return /^jump \S+$/.test(rule.body) ? "jump" : "stale";
  if (rule.comment === names.comment) return "stale";
  return names.table === "filter" && isBarrier(rule) ? "barrier" : "foreign";
}

const jumpsTo = (rule: NftRule, chain: string): boolean =>
  new RegExp(`(?:^| )(?:jump|goto) ${chain}$`).test(rule.body);

// an nft built without xtables prints iptables' REJECT as a foreign target
const isBarrier = ({ body }: NftRule): boolean =>
  body === "drop" ||
  body === `jump ${DOCKER_FORWARD}` ||
  /^(?:reject(?: with .*)?|xt target "REJECT")$/.test(body);

const VERDICTS: Readonly<Record<Verdict, string>> = {
  accept: "accept",
  return: "return",
  masquerade: "masquerade",
  "masquerade-random": "masquerade fully-random",
};

function renderRule(family: FirewallFamily, rule: FirewallRule, counter = ""): string {
  const mark = rule.mark === undefined ? "" : `0x${rule.mark.toString(16)}`;
  return [
    renderMatch(family, "saddr", rule.source),
    renderMatch(family, "daddr", rule.destination),
    mark === "" ? "" : `meta mark & ${mark} == ${mark} `,
    counter,
    VERDICTS[rule.verdict],
  ].join("");
}

const renderMatch = (family: FirewallFamily, field: string, match: AddressMatch | undefined): string =>
  match === undefined
    ? ""
    : `${family.nft} ${field} ${match.negated ? "!= " : ""}${formatPrefix(match.prefix)} `;
