/**
 * What a base chain does to packets, found by following its rules through jumps and gotos (iptables(8), nft(8)). The model
 * is the same for nftables and iptables; `iptables-walk.ts` and `nft-walk.ts` read their syntax. `network-packets.ts` and
 * `tunnel-packets.ts` are the packets.
 */

import type { Prefix } from "../address/prefix.ts";

/** Whether a match applies to all packets that the walk stands for, to none, or cannot be decided. */
export type Truth = "all" | "none" | "unknown";

/** One condition of a rule. */
export type Match =
  /** Undefined = not a prefix (an address range, a set). */
  | {
      readonly kind: "address";
      readonly side: "source" | "destination";
      readonly prefixes: readonly (Prefix | undefined)[];
      readonly negated: boolean;
    }
  /** Interface names, `*` or `+` at the end for any rest. */
  | {
      readonly kind: "interface";
      readonly side: "in" | "out";
      readonly names: readonly string[];
      readonly negated: boolean;
    }
  | { readonly kind: "protocol"; readonly names: readonly string[]; readonly negated: boolean }
  /** Ports, both ends of a range included; `protocol` undefined = another match names it. */
  | {
      readonly kind: "port";
      readonly side: "source" | "destination";
      readonly protocol: string | undefined;
      readonly ranges: readonly (readonly [number, number])[];
      readonly negated: boolean;
    }
  | { readonly kind: "family"; readonly family: 4 | 6 }
  /** What the destination is to the host: "local", "broadcast", "multicast" … */
  | { readonly kind: "destination-type"; readonly types: readonly string[]; readonly negated: boolean }
  /** Connection tracking translates an address of the packet. */
  | { readonly kind: "translated"; readonly negated: boolean }
  /** Connection tracking's state; whether the listed states include that of a new connection. */
  | { readonly kind: "state"; readonly includesNew: boolean }
  /** Membership in a set whose elements are not listed. */
  | { readonly kind: "set" }
  | { readonly kind: "other" };

/** What a rule does to the packets that it matches. */
export type Effect =
  | { readonly kind: "accept" | "drop" | "return" | "next" }
  | { readonly kind: "jump" | "goto"; readonly chain: string };

/** One rule as the walk understands it, whichever tool printed it. */
export interface WalkRule {
  /** The rule as its tool prints it. */
  readonly text: string;
  readonly matches: readonly Match[];
  readonly effect: Effect;
}

/** Gives the rules of a chain; undefined = no such chain (a target of iptables that only changes the packet). */
export type ChainReader = (chain: string) => readonly WalkRule[] | undefined;

/** The end of a walk. */
export interface WalkEnd {
  /** `end`: no rule decides. */
  readonly verdict: "accept" | "drop" | "end";
  /** The rule that decided; undefined with `end`. */
  readonly rule: WalkRule | undefined;
  /** The deciding rules name addresses or interfaces of the network: an operator's decision, not a policy for all. */
  readonly isSpecific: boolean;
  /** An earlier rule that cannot be decided (a set whose elements are not known) may accept the packets. */
  readonly isUncertain: boolean;
}

/** One kind of packet that is walked. */
export interface Packet {
  /** Whether a match applies to it. */
  truthOf(match: Match): Truth;
  /** Whether a rule whose matches cannot be decided may apply to all of these packets. */
  mayBeMeantBy(rule: WalkRule): boolean;
}

const NOTHING_DECIDED: WalkEnd = {
  verdict: "end",
  rule: undefined,
  isSpecific: false,
  isUncertain: false,
};

/** What a list of rules does to packets. Results of chains are kept, so that each is walked once. */
export class Walker {
  readonly #chains: ChainReader;
  readonly #packets: readonly Packet[];
  readonly #ends = new Map<Packet, Map<string, WalkEnd>>();
  /** Chains whose rules decide what happens to some packets. */
  readonly visited = new Set<string>();

  constructor(chains: ChainReader, packets: readonly Packet[]) {
    this.#chains = chains;
    this.#packets = packets;
  }

  /** One end for each kind of packet. */
  walk(rules: readonly WalkRule[]): WalkEnd[] {
    return this.#packets.map((packet) => this.#walk(rules, packet, []).end);
  }

  /**
   * Whether one rule of a base chain ends the walk of some packets against the network, though it is not about the network in
   * particular: a closing drop or reject, directly or in a chain that it leads to, or a goto or return to a dropping policy.
   */
  blocks(rule: WalkRule, hasDropPolicy: boolean): boolean {
    return this.#packets.some((packet) => {
      const { end, isStopped } = this.#walk([rule], packet, []);
      if (end.verdict === "drop") return !end.isSpecific;
      return end.verdict === "end" && isStopped && hasDropPolicy && !isSpecificRule(rule);
    });
  }

  #walk(
    rules: readonly WalkRule[],
    packet: Packet,
    path: readonly string[],
  ): { end: WalkEnd; isStopped: boolean } {
    let isUncertain = false;
    for (const rule of rules) {
      const truth = truthOf(rule, packet);
      if (truth === "none") continue;
      const { effect } = rule;
      if (truth === "unknown") {
        isUncertain ||= packet.mayBeMeantBy(rule) && this.#maySpare(effect, packet, path);
        continue;
      }
      switch (effect.kind) {
        case "next":
          continue;
        case "accept":
        case "drop":
          return {
            end: { verdict: effect.kind, rule, isSpecific: isSpecificRule(rule), isUncertain },
            isStopped: true,
          };
        case "return":
          return { end: { ...NOTHING_DECIDED, isUncertain }, isStopped: true };
      }
      const inner = this.#walkChain(effect.chain, packet, path);
      if (inner === undefined) continue;
      isUncertain ||= inner.isUncertain;
      const end = { ...inner, isUncertain, isSpecific: inner.isSpecific || isSpecificRule(rule) };
      if (inner.verdict !== "end" || effect.kind === "goto") return { end, isStopped: true };
    }
    return { end: { ...NOTHING_DECIDED, isUncertain }, isStopped: false };
  }

  /** Whether packets with this effect may escape the rules that follow. */
  #maySpare(effect: Effect, packet: Packet, path: readonly string[]): boolean {
    if (effect.kind !== "jump" && effect.kind !== "goto")
      return effect.kind === "accept" || effect.kind === "return";
    const inner = this.#walkChain(effect.chain, packet, path);
    if (inner === undefined) return false;
    const { verdict, isUncertain } = inner;
    return isUncertain || verdict === "accept" || (effect.kind === "goto" && verdict === "end");
  }

  /** Undefined: no chain, or one that is being walked, which the kernel does not allow. */
  #walkChain(chain: string, packet: Packet, path: readonly string[]): WalkEnd | undefined {
    const ends = this.#ends.get(packet) ?? new Map<string, WalkEnd>();
    this.#ends.set(packet, ends);
    const known = ends.get(chain);
    if (known !== undefined) return known;
    const rules = path.includes(chain) ? undefined : this.#chains(chain);
    if (rules === undefined) return undefined;
    this.visited.add(chain);
    const { end } = this.#walk(rules, packet, [...path, chain]);
    ends.set(chain, end);
    return end;
  }
}

/** Whether the rule selects by addresses or interfaces of the network. */
const isSpecificRule = ({ matches }: WalkRule): boolean =>
  matches.some(
    (match) =>
      (match.kind === "interface" && !match.negated) ||
      (match.kind === "address" &&
        !match.negated &&
        !match.prefixes.some((prefix) => prefix !== undefined && prefix.length === 0)),
  );

function truthOf({ matches }: WalkRule, packet: Packet): Truth {
  let result: Truth = "all";
  for (const match of matches) {
    const truth = packet.truthOf(match);
    if (truth === "none") return "none";
    if (truth === "unknown") result = "unknown";
  }
  return result;
}

/** The truth of a match with several values. */
export const anyOf = (truths: readonly Truth[]): Truth =>
  truths.includes("all") ? "all" : truths.every((truth) => truth === "none") ? "none" : "unknown";

/** The truth of a match after `!`. */
export const negate = (truth: Truth, negated: boolean): Truth =>
  !negated || truth === "unknown" ? truth : truth === "all" ? "none" : "all";
