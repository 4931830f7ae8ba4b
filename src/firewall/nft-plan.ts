/**
 * The difference between the desired rules and the ruleset that nft lists, as one script for `nft -f -`, which the kernel
 * applies as one transaction: no packet meets a part of it (nft(8)).
 *
 * The rules are in tables of flanneld, `ip flannel-ipv4` and `ip6 flannel-ipv6`, which are replaced as a whole. One thing
 * cannot be done from there: in nftables a drop is final, and an accept only ends its own base chain. So where the shared
 * `filter` table, the one that iptables-nft uses, drops forwarded packets (as it does under Docker), the accepts are also
 * in that table: exactly what iptables mode would write. They are deleted when nothing drops any more.
 */

import { type CurrentNetworks, findNftDrops } from "./findings.ts";
import type { FirewallPlan } from "./iptables-plan.ts";
import { CHAINS, FIREWALL_FAMILIES, type FirewallFamily, isOwnName, ROLES } from "./names.ts";
import { isBaseChain, type NftRuleset, type NftTable, parseNftRule } from "./nft-listing.ts";
import { renderNftRule } from "./nft-render.ts";
import { SharedTable } from "./nft-shared.ts";
import {
  type ChainOwners,
  chooseName,
  type FamilyNetworks,
  isOurs,
  networkOfRules,
  type OwnNetworks,
  ownersOf,
} from "./ownership.ts";
import { type FamilyRules, type FirewallRules, sameRules } from "./rules.ts";
import { findNftTunnelDrops } from "./tunnel-findings.ts";
import type { TunnelListener } from "./tunnel-packets.ts";

/**
 * `own`: only flanneld's own tables, when iptables mode does the rest. `all`: also what iptables mode, ours or Go
 * flannel's, left in the tables of iptables-nft, and the accepts that a drop there needs.
 */
export type NftScope = "own" | "all";

/** Which rules are ours, and whose packets the walk follows. */
export interface NftNetworks {
  /** The networks whose rules are ours; undefined = all. */
  readonly own: OwnNetworks;
  /** This daemon's networks, whose drops are findings. */
  readonly current: CurrentNetworks;
  /** Where its tunnel receives packets, whose drops are findings, too. */
  readonly listeners: readonly TunnelListener[];
}

const ALL_NETWORKS: NftNetworks = { own: undefined, current: {}, listeners: [] };

/** Tables of iptables-nft. */
const IPTABLES_TABLE = /^ip6? (?:filter|nat|mangle|raw|security)$/;

/** Plans both families; empty if in sync. Without desired rules the plan deletes everything of ours. */
export function planNft(
  wanted: FirewallRules,
  seen: NftRuleset,
  scope: NftScope,
  networks: NftNetworks = ALL_NETWORKS,
): FirewallPlan {
  const lines: string[] = [];
  const changes: string[] = [];
  const removals: string[] = [];
  const removed: string[] = [];
  const forwardAt = new Map<string, number>();
  const watched = new Set<string>();
  for (const family of FIREWALL_FAMILIES) {
    const own = networks.own?.[family.key];
    planOwnTables({ family, own, seen, lines, changes }, wanted[family.key]);
    if (scope === "own") continue;
    const network = networks.current[family.key] ?? networkOfRules(wanted[family.key]);
    for (const role of ROLES) {
      const names = CHAINS[role];
      const address = `${family.nft} ${names.table}`;
      const table = seen.get(address);
      if (table === undefined) continue;
      const place = new SharedTable({ address, names, table, family, own, network });
      const rules = wanted[family.key][role];
      const isNeeded = rules.length > 0 && place.dropsForwarded();
      if (isNeeded) forwardAt.set(address, place.repair(rules, lines, changes));
      place.remove(removals, removed);
      for (const chain of place.walked) watched.add(`${address} ${chain}`);
    }
  }
  const isSkipped = (address: string) => scope === "own" && IPTABLES_TABLE.test(address);
  const drops = findNftDrops(seen, networks.current, isSkipped, forwardAt);
  const tunnel = findNftTunnelDrops(seen, networks.listeners, isSkipped);
  for (const chain of [...drops.chains, ...tunnel.chains]) watched.add(chain);
  const findings = [...drops.findings, ...tunnel.findings];
  const isMade =
    lines.length > 0 &&
    ROLES.some((role) => FIREWALL_FAMILIES.some(({ key }) => wanted[key][role].length > 0));
  if (isMade && removals.length > 0) {
    // Not in one transaction: a packet on its way through two base chains of one hook can meet the new one from before
    // it and the old one from after it, and so neither.
    return { script: scriptOf(lines), changes, later: removed, findings, watched };
  }
  return {
    script: scriptOf([...lines, ...removals]),
    changes: [...changes, ...removed],
    findings,
    watched,
  };
}

const scriptOf = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");

interface OwnTables {
  readonly family: FirewallFamily;
  readonly own: FamilyNetworks;
  readonly seen: NftRuleset;
  readonly lines: string[];
  readonly changes: string[];
}

function planOwnTables({ family, own, seen, lines, changes }: OwnTables, wanted: FamilyRules): void {
  const prefix = `${family.nft} `;
  const owners = new Map<string, ChainOwners & { readonly isInUse: boolean }>();
  for (const [address, table] of seen) {
    const name = address.slice(prefix.length);
    if (!address.startsWith(prefix) || !isOwnName(name, family.nftTable)) continue;
    const rules = [...table.chains.values()].flatMap((chain) => chain.rules.map(parseNftRule));
    owners.set(name, { ...ownersOf(rules, own), isInUse: true });
  }
  const network = networkOfRules(wanted);
  const chosen = network && chooseName(family.nftTable, network, owners);
  const stale = [...owners].filter(([name, each]) => name !== chosen && isOurs(each)).map(([name]) => name);
  for (const name of stale) {
    changes.push(`nftables table ${prefix}${name}`);
    // adding first makes deleting safe whether or not the table exists
    lines.push(`add table ${prefix}${name}`, `delete table ${prefix}${name}`);
  }
  if (chosen === undefined) return;
  const address = `${prefix}${chosen}`;
  const found = seen.get(address);
  if (found !== undefined && isOwnTableRight(found, wanted)) return;
  changes.push(`nftables table ${address} (${found === undefined ? "missing" : "other rules"})`);
  lines.push(`add table ${address}`, `delete table ${address}`, renderNftTable(family, wanted, chosen));
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
function renderNftTable(family: FirewallFamily, wanted: FamilyRules, name: string): string {
  const lines = [`table ${family.nft} ${name} {`];
  for (const role of ROLES) {
    const names = CHAINS[role];
    if (wanted[role].length === 0) continue;
    lines.push(`  chain ${names.nftChain} {`);
    lines.push(
      `    type ${names.nftType} hook ${names.nftHook} priority ${names.nftPriority}; policy accept;`,
    );
    for (const rule of wanted[role])
      lines.push(`    ${renderNftRule(family, rule)} comment "${names.comment}"`);
    lines.push("  }");
  }
  return [...lines, "}"].join("\n");
}
