/**
 * Rules of the host that drop the network's packets and that flanneld's accepts cannot overrule: a drop in another table or at
 * another hook is final, and a specific rule of an operator is respected. They are found by walking the chains
 * (`walk.ts`) and reported with their text and the remedy.
 */

import type { FamilyName } from "../address/family.ts";
import { formatPrefix, type Prefix } from "../address/prefix.ts";
import type { SavedTables } from "./iptables-save.ts";
import { iptablesChains, readIptablesRule } from "./iptables-walk.ts";
import { CHAINS, FIREWALL_FAMILIES } from "./names.ts";
import { networkPackets } from "./network-packets.ts";
import type { NftRuleset, NftTable } from "./nft-listing.ts";
import { nftChains } from "./nft-walk.ts";
import { type WalkEnd, Walker, type WalkRule } from "./walk.ts";

/** Built-in chains that a forwarded packet passes, by table; `nat` cannot drop. */
const IPTABLES_HOOKS: Readonly<Record<string, readonly string[]>> = {
  raw: ["PREROUTING"],
  mangle: ["PREROUTING", "FORWARD", "POSTROUTING"],
  filter: ["FORWARD"],
  security: ["FORWARD"],
};

/** A base chain of iptables that drops packets of the network. */
export interface IptablesDrop {
  /** "table filter, chain FORWARD, policy drop". */
  readonly where: string;
  readonly network: Prefix;
}

/** `acceptsAt`: index in FORWARD of the filter table where flanneld's accepts stand; undefined = there are none. */
export function findIptablesDrops(
  seen: SavedTables,
  network: Prefix,
  acceptsAt: number | undefined,
): IptablesDrop[] {
  const drops: IptablesDrop[] = [];
  for (const [table, hooks] of Object.entries(IPTABLES_HOOKS)) {
    const chains = seen.get(table);
    if (chains === undefined) continue;
    const walker = new Walker(iptablesChains(chains), networkPackets(network));
    for (const hook of hooks) {
      const chain = chains.get(hook);
      if (chain === undefined) continue;
      const limit = table === "filter" ? acceptsAt : undefined;
      const ends = walker.walk(chain.rules.slice(0, limit).map(readIptablesRule));
      const reason = reasonOf(ends, limit === undefined && chain.policy === "DROP");
      if (reason !== undefined) drops.push({ where: `table ${table}, chain ${hook}, ${reason}`, network });
    }
  }
  return drops;
}

/** A finding in the tables that the rules of flanneld are in, too. */
export const describeIptablesDrop = (tool: string, { where, network }: IptablesDrop): string =>
  `${tool}: ${where} drops packets of the network ${formatPrefix(network)} before flanneld's accepts; ` +
  "remove the rule, or accept the network before it";

/** "rule …" or "policy drop"; undefined = nothing drops for certain. */
export function reasonOf(ends: readonly WalkEnd[], hasDropPolicy: boolean): string | undefined {
  for (const { verdict, rule, isUncertain } of ends) {
    if (isUncertain) continue;
    if (verdict === "drop") return `rule "${textOf(rule)}"`;
    if (verdict === "end" && hasDropPolicy) return "policy drop";
  }
  return undefined;
}

/** Longest part of a foreign rule that a message quotes. */
const QUOTED = 200;
const textOf = (rule: WalkRule | undefined): string => (rule?.text ?? "").slice(0, QUOTED);

/** Hooks that forwarded packets pass, by family of nftables (nft(8), ADDRESS FAMILIES). */
const NFT_HOOKS: Readonly<Record<string, readonly string[]>> = {
  ip: ["prerouting", "forward", "postrouting"],
  ip6: ["prerouting", "forward", "postrouting"],
  inet: ["ingress", "prerouting", "forward", "postrouting"],
  bridge: ["prerouting", "input", "forward", "output", "postrouting"],
  netdev: ["ingress", "egress"],
};

/** A base chain: its hook, one device, its priority. */
export const BASE_CHAIN =
  /^type \S+ hook (\S+) (?:devices? (?:= )?(?:"([^"]*)"|\{[^}]*\}) )?priority ([^;]+);/;

/** The networks of this daemon, by family. */
export type CurrentNetworks = Readonly<Partial<Record<FamilyName, Prefix | undefined>>>;

/** What a walk through the host's nftables rules found. */
export interface NftFindings {
  readonly findings: readonly string[];
  /** "inet firewalld filter_FORWARD": chains whose rules a finding depends on. */
  readonly chains: ReadonlySet<string>;
}

/**
 * What the base chains of nftables drop.
 * @param isSkipped names the tables that are checked elsewhere
 * @param acceptsAt by table ("ip filter") the index in its FORWARD chain where flanneld's accepts stand
 */
export function findNftDrops(
  seen: NftRuleset,
  networks: CurrentNetworks,
  isSkipped: (address: string) => boolean,
  acceptsAt: ReadonlyMap<string, number>,
): NftFindings {
  const findings: string[] = [];
  const chains = new Set<string>();
  for (const [address, table] of seen) {
    if (isSkipped(address)) continue;
    const [nftFamily = ""] = address.split(" ");
    const families = FIREWALL_FAMILIES.filter(({ nft }) => !nftFamily.startsWith("ip") || nft === nftFamily);
    const walked = families.flatMap(({ key }) => networks[key] ?? []);
    const hooks = NFT_HOOKS[nftFamily] ?? [];
    const place = { address, table, networks: walked, hooks, acceptsAt: acceptsAt.get(address) };
    findings.push(...findInTable(place, chains));
  }
  return { findings, chains };
}

interface TableWalk {
  readonly address: string;
  readonly table: NftTable;
  readonly networks: readonly Prefix[];
  readonly hooks: readonly string[];
  readonly acceptsAt: number | undefined;
}

/** One line for each base chain and reason. */
function findInTable(
  { address, table, networks, hooks, acceptsAt }: TableWalk,
  visited: Set<string>,
): string[] {
  const read = nftChains(table);
  const walkers = networks.map((network) => ({ network, walker: new Walker(read, networkPackets(network)) }));
  const findings: string[] = [];
  for (const [name, { base }] of table.chains) {
    const [, hook = "", device, priority = ""] = BASE_CHAIN.exec(base ?? "") ?? [];
    if (!hooks.includes(hook) || device === "lo") continue;
    visited.add(`${address} ${name}`);
    const limit = name === CHAINS.forward.hook ? acceptsAt : undefined;
    const isPolicyDrop = limit === undefined && / policy drop;$/.test(base ?? "");
    const rules = read(name)!.slice(0, limit);
    const networksByReason = new Map<string, string[]>();
    for (const { network, walker } of walkers) {
      const reason = reasonOf(walker.walk(rules), isPolicyDrop);
      if (reason === undefined) continue;
      networksByReason.set(reason, [...(networksByReason.get(reason) ?? []), formatPrefix(network)]);
    }
    for (const [reason, dropped] of networksByReason) {
      findings.push(
        `nftables: table ${address}, chain ${name} (hook ${hook}, priority ${priority}) drops packets of the network ` +
          `${dropped.join(" and ")} (${reason}), which no rule of flanneld can overrule; ${remedyFor(address, dropped)}`,
      );
    }
  }
  for (const { walker } of walkers) for (const name of walker.visited) visited.add(`${address} ${name}`);
  return findings;
}

const remedyFor = (address: string, networks: readonly string[]): string =>
  address.endsWith(" firewalld")
    ? `run "firewall-cmd --permanent --zone=trusted${networks.map((network) => ` --add-source=${network}`).join("")}" ` +
      `and "firewall-cmd --reload"`
    : "accept the network there, or remove the rule";
