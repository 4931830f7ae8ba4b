/**
 * Reads the output of `nft --terse --stateless --handle list ruleset` (nft(8)): tables, chains, and rules with their handles.
 * Rules are parsed as far as flanneld's own rules need.
 */

import { parsePrefix } from "../address/prefix.ts";
import { type FirewallRule, outside, rule, type Verdict, within } from "./rules.ts";

/** One rule of a chain. */
export interface NftRule {
  /** As printed, without comment, counter and handle. */
  readonly body: string;
  readonly comment: string | undefined;
  /** Names the rule to the kernel, within its table. */
  readonly handle: number;
}

/** A chain with its rules in order. */
export interface NftChain {
  /** "type nat hook postrouting priority srcnat; policy accept;", undefined for a chain without a hook. */
  readonly base: string | undefined;
  readonly rules: readonly NftRule[];
}

/** One table of one nftables family. */
export interface NftTable {
  readonly chains: ReadonlyMap<string, NftChain>;
  /** It contains sets, maps, flowtables or other objects. */
  readonly hasOthers: boolean;
}

/** "ip filter" → table. */
export type NftRuleset = ReadonlyMap<string, NftTable>;

interface Block {
  readonly kind: string;
  readonly lines: string[];
}

/** Parses a listing; lines that do not belong to the outline are skipped. */
export function parseNftListing(text: string): NftRuleset {
  const tables = new Map<string, { chains: Map<string, NftChain>; hasOthers: boolean }>();
  let table: { chains: Map<string, NftChain>; hasOthers: boolean } | undefined;
  let block: (Block & { readonly name: string }) | undefined;
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    const opened = /^(\S+) (.+?) \{(?: # .*)?$/.exec(line); // "# handle 7", of a table also "progname nft"
    if (table === undefined) {
      if (opened?.[1] !== "table") continue;
      table = { chains: new Map(), hasOthers: false };
      tables.set(opened[2]!, table);
    } else if (line === "}") {
      if (block === undefined) table = undefined;
      else if (block.kind === "chain") table.chains.set(block.name, chainOf(block.lines));
      block = undefined;
    } else if (block !== undefined) {
      block.lines.push(line);
    } else if (opened !== null) {
      block = { kind: opened[1]!, name: opened[2]!, lines: [] };
      if (block.kind !== "chain") table.hasOthers = true;
    }
  }
  return tables;
}

function chainOf(lines: readonly string[]): NftChain {
  let base: string | undefined;
  const rules: NftRule[] = [];
  for (const line of lines) {
    if (line.startsWith("type ") && line.includes(" hook ")) base = line;
    const handle = / # handle (\d+)$/.exec(line);
    if (handle !== null) rules.push(ruleOf(line.slice(0, handle.index), Number(handle[1])));
  }
  return { base, rules };
}

function ruleOf(text: string, handle: number): NftRule {
  const commented = /^(.*?)\s*comment "([^"]*)"$/.exec(text);
  const body = (commented?.[1] ?? text).replace(/\bcounter(?: packets \d+ bytes \d+)?(?= |$)/, "");
  return { body: body.replace(/\s+/g, " ").trim(), comment: commented?.[2], handle };
}

const VERDICTS: Readonly<Record<string, Verdict>> = {
  accept: "accept",
  return: "return",
  masquerade: "masquerade",
  "masquerade fully-random": "masquerade-random",
};

const ADDRESS = /^(?:ip|ip6) (saddr|daddr) (!= )?(\S+) /;
// printed with "&" or, by older and newer versions, "and"
const MARK = /^meta mark (?:&|and) (0x[\da-f]+|\d+) == (0x[\da-f]+|\d+) /;

/** The meaning of a rule; undefined if it has anything that flanneld's rules never have. */
export function parseNftRule({ body }: NftRule): FirewallRule | undefined {
  const match: { source?: FirewallRule["source"]; destination?: FirewallRule["destination"]; mark?: number } =
    {};
  let rest = body;
  for (;;) {
    const verdict = VERDICTS[rest];
    if (verdict !== undefined) return rule(verdict, match);
    const address = ADDRESS.exec(rest);
    const mark = MARK.exec(rest);
    if (address !== null) {
      // a single address is printed without a length
      const text = address[3]!;
      const prefix = parsePrefix(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`);
      if (prefix === undefined) return undefined;
      match[address[1] === "saddr" ? "source" : "destination"] = address[2]
        ? outside(prefix)
        : within(prefix);
    } else if (mark !== null && Number(mark[1]) === Number(mark[2])) {
      match.mark = Number(mark[1]);
    } else {
      return undefined;
    }
    rest = rest.slice((address ?? mark)![0].length);
  }
}

/** Whether the base chain has this type, hook and one of the priorities, and an accept policy. */
export function isBaseChain(
  chain: NftChain,
  type: string,
  hook: string,
  priorities: readonly string[],
): boolean {
  const parsed = /^type (\S+) hook (\S+) priority ([^;]+);(?: policy (\S+);)?$/.exec(chain.base ?? "");
  if (parsed === null) return false;
  const [, foundType, foundHook, priority, policy] = parsed;
  return (
    foundType === type &&
    foundHook === hook &&
    priorities.includes(priority!) &&
    (policy ?? "accept") === "accept"
  );
}

/** Whether the base chain has a drop policy. */
export const dropsByPolicy = (chain: NftChain): boolean => / policy drop;$/.test(chain.base ?? "");
