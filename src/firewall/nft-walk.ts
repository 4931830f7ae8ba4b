/** Reads rules of `nft list ruleset` (nft(8)) for the walk: what they match, and what they do. */

import { type Prefix, parsePrefix } from "../address/prefix.ts";
import type { NftRule, NftTable } from "./nft-listing.ts";
import type { ChainReader, Effect, Match, WalkRule } from "./walk.ts";

/** Reads the chains of one table, each when it is first asked for. */
export function nftChains(table: NftTable): ChainReader {
  const read = new Map<string, readonly WalkRule[]>();
  return (name) => {
    const known = read.get(name);
    if (known !== undefined) return known;
    const chain = table.chains.get(name);
    if (chain === undefined) return undefined;
    const rules = chain.rules.map(readNftRule);
    read.set(name, rules);
    return rules;
  };
}

/** One expression at the start of the text, and what it matches; "none" = it matches everything. */
interface Expression {
  /** First words that it can have. */
  readonly words: readonly string[];
  readonly pattern: RegExp;
  readonly read: (found: RegExpExecArray) => Match | Effect | "none";
}

const VALUES = String.raw`(\{[^}]*\}|"[^"]*"|\S+)`;

const EXPRESSIONS: readonly Expression[] = [
  {
    words: ["ct"],
    pattern: new RegExp(`^ct state vmap ${VALUES}`),
    read: ([, map = ""]) => {
      const verdict = /\bnew : (\w+)(?: (\S+?))?(?=[,\s}])/.exec(map);
      return verdict === null ? "none" : verdictOf(verdict[1]!, verdict[2]);
    },
  },
  {
    words: ["ct"],
    pattern: new RegExp(`^ct state (!= )?${VALUES}`),
    read: ([, not, value = ""]) => {
      const states = listOf(value);
      if (value.startsWith("0x") || value.startsWith("@")) return { kind: "other" };
      return { kind: "state", includesNew: states.includes("new") !== (not !== undefined) };
    },
  },
  {
    words: ["ip", "ip6"],
    pattern: new RegExp(`^(?:ip|ip6) (saddr|daddr) (!= )?${VALUES}`),
    read: ([, side, not, value = ""]) =>
      addressMatch(side === "saddr" ? "source" : "destination", value, not !== undefined),
  },
  {
    words: ["tcp", "udp", "th", "sctp", "dccp", "udplite"],
    pattern: new RegExp(`^(\\w+) (sport|dport) (!= )?(?!vmap )${VALUES}`),
    read: ([, protocol, side, not, value = ""]) => {
      if (value.startsWith("@")) return { kind: "set" };
      return {
        kind: "port",
        side: side === "sport" ? "source" : "destination",
        protocol: protocol === "th" ? undefined : protocol,
        ranges: listOf(value).map(rangeOf),
        negated: not !== undefined,
      };
    },
  },
  {
    words: ["fib"],
    pattern: new RegExp(`^fib daddr type (!= )?${VALUES}`),
    read: ([, not, value = ""]) => ({
      kind: "destination-type",
      types: listOf(value),
      negated: not !== undefined,
    }),
  },
  {
    words: ["ct"],
    pattern: /^ct status (!= )?(?:dnat|snat)(?: |$)/,
    read: ([, not]) => ({ kind: "translated", negated: not !== undefined }),
  },
  {
    words: ["iif", "oif", "iifname", "oifname"],
    pattern: new RegExp(`^(iif|oif)(?:name)? (!= )?${VALUES}`),
    read: ([, side, not, value = ""]) => ({
      kind: "interface",
      side: side === "iif" ? "in" : "out",
      names: listOf(value),
      negated: not !== undefined,
    }),
  },
  {
    words: ["meta", "ip", "ip6"],
    pattern: new RegExp(`^(?:meta l4proto|ip protocol|ip6 nexthdr) (!= )?${VALUES}`),
    read: ([, not, value = ""]) => ({ kind: "protocol", names: listOf(value), negated: not !== undefined }),
  },
  {
    words: ["meta"],
    pattern: /^meta nfproto (ipv4|ipv6)/,
    read: ([, name]) => ({ kind: "family", family: familyOf(name) }),
  },
  {
    words: ["meta", "ether"],
    pattern: /^(?:meta protocol|ether type) (ip|ip6)(?= )/,
    read: ([, name]) => ({ kind: "family", family: familyOf(name) }),
  },
  { words: ["counter"], pattern: /^counter(?: packets \d+ bytes \d+)?/, read: () => "none" },
  {
    words: ["log"],
    pattern: /^log(?: (?:prefix "[^"]*"|level \S+|group \d+|snaplen \d+|queue-threshold \d+|flags \S+))*/,
    read: () => "none",
  },
  {
    words: ["jump", "goto"],
    pattern: /^(?:jump|goto) (\S+)/,
    read: ([text, chain]) => verdictOf(text.slice(0, 4), chain),
  },
  {
    words: ["accept", "drop", "return", "continue"],
    pattern: /^(?:accept|drop|return|continue)(?= |$)/,
    read: ([text]) => verdictOf(text, undefined),
  },
  { words: ["reject", "xt"], pattern: /^(?:reject.*|xt target "REJECT".*)$/, read: () => ({ kind: "drop" }) },
];

const BY_WORD = new Map<string, Expression[]>();
for (const expression of EXPRESSIONS) {
  for (const word of expression.words) BY_WORD.set(word, [...(BY_WORD.get(word) ?? []), expression]);
}

/** Never fails: what is not known becomes a match that cannot be decided. */
export function readNftRule({ body }: NftRule): WalkRule {
  const matches: Match[] = [];
  let rest = body;
  while (rest !== "") {
    const { length, part } = nextPart(rest);
    if (part !== "none") {
      if (isEffect(part)) return { text: body, matches, effect: part };
      matches.push(part);
    }
    rest = rest.slice(length).trimStart();
  }
  return { text: body, matches, effect: { kind: "next" } };
}

function nextPart(text: string): { length: number; part: Match | Effect | "none" } {
  const space = text.indexOf(" ");
  for (const { pattern, read } of BY_WORD.get(space < 0 ? text : text.slice(0, space)) ?? []) {
    const found = pattern.exec(text);
    if (found !== null) return { length: found[0].length, part: read(found) };
  }
  return {
    length: /^(?:"[^"]*"|\{[^}]*\}|\S+)/.exec(text)?.[0].length ?? text.length,
    part: { kind: "other" },
  };
}

const EFFECTS = new Set(["accept", "drop", "return", "next", "jump", "goto"]);
const isEffect = (part: Match | Effect): part is Effect => EFFECTS.has(part.kind);

function verdictOf(word: string, chain: string | undefined): Effect {
  if ((word === "jump" || word === "goto") && chain !== undefined) return { kind: word, chain };
  return word === "accept" || word === "drop" || word === "return" ? { kind: word } : { kind: "next" };
}

const familyOf = (name: string | undefined): 4 | 6 => (name === "ip" || name === "ipv4" ? 4 : 6);

/** "a", "{ a, b }", "established,related": the values, quotes removed. */
const listOf = (text: string): string[] =>
  text
    .replace(/^\{|\}$/g, "")
    .split(",")
    .map((value) => value.trim().replace(/^"|"$/g, ""))
    .filter((value) => value !== "");

/** "53", "8000-9000"; names are printed with `nft --service` only. */
function rangeOf(text: string): [number, number] {
  const [first, last = first] = text.split("-").map(Number);
  return [first!, last!];
}

function addressMatch(side: "source" | "destination", text: string, negated: boolean): Match {
  if (text.startsWith("@")) return { kind: "set" };
  return { kind: "address", side, prefixes: listOf(text).map(prefixOfText), negated };
}

/** A single address is printed without a length; a range is no prefix. */
const prefixOfText = (text: string): Prefix | undefined =>
  parsePrefix(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`);
