/**
 * What a base chain does to packets of the network, found by following its rules through jumps and gotos (iptables(8),
 * nft(8)). The model is the same for nftables and iptables; `iptables-walk.ts` and `nft-walk.ts` read their syntax.
 *
 * The packets: new connections between two addresses of the network, by TCP, UDP and ICMP, arriving from and leaving to
 * another host. A match that cannot be decided for them (a port, a mark, the state of a set) applies to some of
 * them only, so its rule decides nothing here: a drop by such a rule is an operator's or a network policy's.
 */

import { containsPrefix, overlaps, type Prefix } from "../address/prefix.ts";

/** Whether a match applies to all packets that the walk stands for, to none, or cannot be decided. */
type Truth = "all" | "none" | "unknown";

export type Protocol = "tcp" | "udp" | "icmp";

/** One condition of a rule. */
export type Match =
  /** Undefined = not a prefix (an address range, a set). */
  | {
      readonly kind: "address";
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
  | { readonly kind: "family"; readonly family: 4 | 6 }
  /** Connection tracking's state; whether the listed states include that of a new connection. */
  | { readonly kind: "state"; readonly includesNew: boolean }
  /** Membership in a set whose elements are not listed. */
  | { readonly kind: "set" }
  | { readonly kind: "other" };

/** What a rule does to the packets that it matches. */
export type Effect =
  | { readonly kind: "accept" | "drop" | "return" | "next" }
  | { readonly kind: "jump" | "goto"; readonly chain: string };

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
  /** An earlier rule accepts by a set whose elements are not known: the packets may be among them. */
  readonly isUncertain: boolean;
}

interface Packet {
  readonly network: Prefix;
  readonly protocol: Protocol;
  /** From another host to a container of this one, or the opposite. */
  readonly isInbound: boolean;
}

const NOTHING_DECIDED: WalkEnd = {
  verdict: "end",
  rule: undefined,
  isSpecific: false,
  isUncertain: false,
};

/** The packets that stand for the traffic of the network. */
const packetsOf = (network: Prefix): Packet[] =>
  (["tcp", "udp", "icmp"] as const).flatMap((protocol) =>
    [true, false].map((isInbound) => ({ network, protocol, isInbound })),
  );

/** What a list of rules does to packets of a network. Results of chains are kept, so that each is walked once. */
export class Walker {
  readonly #chains: ChainReader;
  readonly #packets: readonly Packet[];
  readonly #ends = new Map<Packet, Map<string, WalkEnd>>();
  /** Chains whose rules decide what happens to some packets. */
  readonly visited = new Set<string>();

  constructor(chains: ChainReader, network: Prefix) {
    this.#chains = chains;
    this.#packets = packetsOf(network);
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
        isUncertain ||= effect.kind === "accept" && rule.matches.some(({ kind }) => kind === "set");
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
    const truth = truthOfMatch(match, packet);
    if (truth === "none") return "none";
    if (truth === "unknown") result = "unknown";
  }
  return result;
}

function truthOfMatch(match: Match, packet: Packet): Truth {
  switch (match.kind) {
    case "address": {
      const { family } = packet.network;
      const prefixes = match.prefixes.filter((prefix) => prefix === undefined || prefix.family === family);
      if (prefixes.length === 0) return "none"; // addresses of the other family, also if negated
      return negate(anyOf(prefixes.map((prefix) => truthOfAddress(prefix, packet.network))), match.negated);
    }
    case "interface": {
      const isTunnelSide = packet.isInbound === (match.side === "in");
      return negate(anyOf(match.names.map((name) => truthOfInterface(name, isTunnelSide))), match.negated);
    }
    case "protocol":
      return negate(anyOf(match.names.map((name) => truthOfProtocol(name, packet))), match.negated);
    case "family":
      return match.family === packet.network.family ? "all" : "none";
    case "state":
      return match.includesNew ? "all" : "none";
    default:
      return "unknown";
  }
}

const anyOf = (truths: readonly Truth[]): Truth =>
  truths.includes("all") ? "all" : truths.every((truth) => truth === "none") ? "none" : "unknown";

const negate = (truth: Truth, negated: boolean): Truth =>
  !negated || truth === "unknown" ? truth : truth === "all" ? "none" : "all";

function truthOfAddress(prefix: Prefix | undefined, network: Prefix): Truth {
  if (prefix === undefined) return "unknown";
  if (containsPrefix(prefix, network)) return "all";
  return overlaps(prefix, network) ? "unknown" : "none";
}

/** Devices that packets come from or go to on the tunnel's side, and on the containers' side. */
const TUNNEL_DEVICE = /^flannel/;
const CONTAINER_DEVICE = /^cni0$/;

/** Packets of the network pass `lo` never, and devices of unknown names perhaps. */
function truthOfInterface(name: string, isTunnelSide: boolean): Truth {
  if (name === "lo") return "none";
  if (name === "*" || name === "+") return "all";
  if (TUNNEL_DEVICE.test(name)) return isTunnelSide ? "all" : "none";
  if (CONTAINER_DEVICE.test(name)) return isTunnelSide ? "none" : "all";
  return "unknown";
}

/** Names and numbers as both tools print them (/etc/protocols). */
const PROTOCOL_NAMES: Readonly<Record<string, Protocol | "icmpv6">> = {
  tcp: "tcp",
  6: "tcp",
  udp: "udp",
  17: "udp",
  icmp: "icmp",
  1: "icmp",
  icmpv6: "icmpv6",
  "ipv6-icmp": "icmpv6",
  58: "icmpv6",
};

function truthOfProtocol(name: string, { protocol, network }: Packet): Truth {
  if (name === "all") return "all";
  const own = protocol === "icmp" && network.family === 6 ? "icmpv6" : protocol;
  return PROTOCOL_NAMES[name] === own ? "all" : "none";
}
