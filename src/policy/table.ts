/**
 * The desired filter as a table of nftables (nft(8)): what is fixed in it, and how sets, maps, chains and rules are written.
 *
 * A packet of a known connection meets one rule. The first one of a connection meets one lookup for each end, and if the end
 * is isolated the rules of its own policies only: its cost does not depend on other pods or policies.
 */

import { type Family, formatIp } from "../address/ip.ts";
import type { DesiredFilter, Direction, FilterChain, FilterRule, FilterSet } from "./model.ts";

/** Our table; iptables-nft and Docker use others, and a packet has to pass all of them. */
export const POLICY_TABLE = "inet flannel-policy";

/** Base chains run before those of other programs at the usual priority (filter, 0). */
const PRIORITY = -1;

/** Denied connections are counted for each pod until none was denied for this long. */
const COUNTER_TIMEOUT = "1h";

/** Pods of one node are far fewer. */
const MAX_COUNTERS = 65_535;

/** A set or map: how it is declared, and its elements; undefined = not part of the desired state (the kernel fills it). */
export interface TableSet {
  readonly declaration: string;
  /** Sorted by code unit. Of a map "10.5.1.7 : jump in4-…". */
  readonly elements: readonly string[] | undefined;
}

/** A chain: its hook if it has one, and its rules, each with a comment that says what the chain is and which rule of it this is. */
export interface TableChain {
  readonly hook: string;
  readonly rules: readonly TableRule[];
}
export interface TableRule {
  /** Undefined = read from the kernel: the mark alone tells whether it is the same. */
  readonly body: string | undefined;
  readonly mark: string;
}

/** The whole table as it is, or as it should be. Parts that did not change are the same objects. */
export interface TableContents {
  readonly sets: ReadonlyMap<string, TableSet>;
  readonly chains: ReadonlyMap<string, TableChain>;
}

/** What is chosen once. */
export interface TableOptions {
  /** A hash as hexadecimal text. */
  readonly digest: (text: string) => string;
  /** Log denied packets to this group of nfnetlink_log (0…65535), ten a second; undefined = none. */
  readonly logGroup?: number | undefined;
}

const DIRECTIONS: readonly Direction[] = ["egress", "ingress"];
const FAMILIES: readonly Family[] = [4, 6];
const SHORT: Readonly<Record<Direction, string>> = { ingress: "in", egress: "eg" };

/** Names of what is fixed. */
const mapName = (direction: Direction, family: Family): string => `${SHORT[direction]}${family}`;
export const counterName = (direction: Direction, family: Family): string =>
  `denied-${SHORT[direction]}${family}`;
const denyName = (direction: Direction, family: Family): string => `deny-${SHORT[direction]}${family}`;
/** Ids of connections that policies forbid now (see connections.ts); the chain that drops them exists only while there are any. */
export const CUT_SET = "cut";
export const CUT_CHAIN = "cut-connections";
/** Before the chain that accepts known connections. */
export const CUT_HOOK = `type filter hook forward priority ${PRIORITY - 1}; policy accept`;

const ipOf = (family: Family): string => (family === 4 ? "ip" : "ip6");
const typeOf = (family: Family): string => (family === 4 ? "ipv4_addr" : "ipv6_addr");
/** The pod's own address in a packet. */
const ownField = (direction: Direction): string => (direction === "egress" ? "saddr" : "daddr");
const remoteField = (direction: Direction): string => (direction === "egress" ? "daddr" : "saddr");

/** Neighbour and listener discovery (RFC 4861, RFC 2710, RFC 3810): between pods on one bridge it passes the forward hook. */
const DISCOVERY = "icmpv6 type { 130, 131, 132, 133, 134, 135, 136, 137, 143 } accept";

/** Makes tables from filters; what did not change from one to the next is the same object. */
export class TableMaker {
  readonly #options: TableOptions;
  readonly #sets = new WeakMap<FilterSet, TableSet>();
  readonly #chains = new WeakMap<FilterChain, TableChain>();
  readonly #fixed: TableContents;
  #pods: { readonly pods: DesiredFilter["pods"]; readonly sets: ReadonlyMap<string, TableSet> } | undefined;
  #maps: { readonly filter: DesiredFilter; readonly sets: ReadonlyMap<string, TableSet> } | undefined;

  constructor(options: TableOptions) {
    this.#options = options;
    this.#fixed = this.#fixedPart();
  }

  make(filter: DesiredFilter): TableContents {
    const sets = new Map([...this.#fixed.sets, ...this.#mapsOf(filter), ...this.#podsOf(filter)]);
    for (const [name, set] of filter.sets) sets.set(name, cached(this.#sets, set, tableSet));
    const chains = new Map(this.#fixed.chains);
    for (const [name, chain] of filter.chains) {
      chains.set(
        name,
        cached(this.#chains, chain, (each) => this.#chain("", rulesOf(each))),
      );
    }
    return { sets, chains };
  }

  #mapsOf(filter: DesiredFilter): ReadonlyMap<string, TableSet> {
    const known = this.#maps;
    if (known?.filter.ingress === filter.ingress && known.filter.egress === filter.egress) return known.sets;
    const sets = new Map<string, TableSet>();
    for (const family of FAMILIES) {
      const isOfFamily = (address: string) => address.includes(":") === (family === 6);
      for (const direction of DIRECTIONS) {
        const elements = [...filter[direction]]
          .filter(([address]) => isOfFamily(address))
          .map(([address, chain]) => `${address} : jump ${chain}`)
          .sort();
        sets.set(mapName(direction, family), { declaration: `type ${typeOf(family)} : verdict`, elements });
      }
      const own = new Set([...filter.ingress.keys(), ...filter.egress.keys()]);
      const elements = [...own].filter(isOfFamily).map((address) => `${address} . ${address}`);
      const type = typeOf(family);
      sets.set(`self${family}`, { declaration: `type ${type} . ${type}`, elements: elements.sort() });
    }
    this.#maps = { filter, sets };
    return sets;
  }

  #podsOf({ pods }: DesiredFilter): ReadonlyMap<string, TableSet> {
    if (this.#pods !== undefined && this.#pods.pods === pods) return this.#pods.sets;
    const sets = new Map<string, TableSet>();
    for (const family of FAMILIES) {
      const ranges = (pods?.ranges ?? []).filter(({ first }) => first.family === family);
      const addresses = [...(pods?.addresses ?? [])].filter((each) => each.includes(":") === (family === 6));
      sets.set(`own${family}`, {
        declaration: `type ${typeOf(family)}; flags interval`,
        elements: ranges.map(({ first, last }) => `${formatIp(first)}-${formatIp(last)}`).sort(),
      });
      sets.set(`pods${family}`, { declaration: `type ${typeOf(family)}`, elements: addresses.sort() });
    }
    this.#pods = { pods, sets };
    return sets;
  }

  #fixedPart(): TableContents {
    const sets = new Map<string, TableSet>([[CUT_SET, { declaration: "typeof ct id", elements: undefined }]]);
    const chains = new Map<string, TableChain>();
    for (const family of FAMILIES) {
      for (const direction of DIRECTIONS) {
        const declaration = `type ${typeOf(family)}; flags dynamic, timeout; timeout ${COUNTER_TIMEOUT}; size ${MAX_COUNTERS}; counter`;
        sets.set(counterName(direction, family), { declaration, elements: undefined });
        chains.set(denyName(direction, family), this.#chain("", this.#denyRules(direction, family)));
      }
    }
    const hook = `type filter hook forward priority ${PRIORITY}; policy accept`;
    return { sets, chains: new Map([...chains, ["forward", this.#chain(hook, FORWARD_RULES)]]) };
  }

  #denyRules(direction: Direction, family: Family): string[] {
    const { logGroup } = this.#options;
    const log = `limit rate 10/second burst 20 packets log prefix "flannel-policy: denied ${direction} " group ${logGroup}`;
    return [
      `${ipOf(family)} saddr . ${ipOf(family)} daddr @self${family} accept`,
      ...(family === 6 ? [DISCOVERY] : []),
      ...(logGroup === undefined ? [] : [log]),
      `update @${counterName(direction, family)} { ${ipOf(family)} ${ownField(direction)} }`,
      "drop",
    ];
  }

  #chain(hook: string, bodies: readonly string[]): TableChain {
    const digest = this.#options.digest(bodies.join("\n")).slice(0, 16);
    return { hook, rules: bodies.map((body, index) => ({ body, mark: `${digest}/${index}` })) };
  }
}

const FORWARD_RULES: readonly string[] = [
  "ct state established,related accept",
  // An address of this node that no known pod has: whoever has it is starting, or is gone.
  ...FAMILIES.flatMap((family) =>
    DIRECTIONS.map((direction) => {
      const own = `${ipOf(family)} ${ownField(direction)}`;
      return `${own} @own${family} ${own} != @pods${family} goto ${denyName(direction, family)}`;
    }),
  ),
  ...FAMILIES.flatMap((family) =>
    DIRECTIONS.map(
      (direction) => `${ipOf(family)} ${ownField(direction)} vmap @${mapName(direction, family)}`,
    ),
  ),
];

const tableSet = ({ type, family, elements }: FilterSet): TableSet => {
  switch (type) {
    case "addresses":
      return { declaration: `type ${typeOf(family)}`, elements };
    case "address-ranges":
      return { declaration: `type ${typeOf(family)}; flags interval`, elements };
    case "port-ranges":
      return { declaration: "type inet_service; flags interval", elements };
    case "endpoints":
      return {
        declaration: `type ${typeOf(family)} . inet_proto . inet_service`,
        elements: elements.map((each) => each.toLowerCase().replaceAll(" ", " . ")),
      };
  }
};

/** What is allowed returns to the hook, where the other end of the packet has its say. */
const rulesOf = ({ rules, direction, family }: FilterChain): string[] => [
  ...rules.map((rule) => `${conditionsOf(rule, direction, family)}return`),
  `goto ${denyName(direction, family)}`,
];

function conditionsOf(rule: FilterRule, direction: Direction, family: Family): string {
  const { peers, protocol, ports, endpoints } = rule;
  const conditions: string[] = [];
  // The port first: it costs least, and most rules of a chain are about another one.
  if (protocol !== undefined) {
    const name = protocol.toLowerCase();
    if (ports === undefined) conditions.push(`meta l4proto ${name}`);
    else if (typeof ports === "string") conditions.push(`${name} dport @${ports}`);
    else if (ports.first === ports.last) conditions.push(`${name} dport ${ports.first}`);
    else conditions.push(`${name} dport ${ports.first}-${ports.last}`);
  }
  if (peers !== undefined) conditions.push(`${ipOf(family)} ${remoteField(direction)} @${peers}`);
  if (endpoints !== undefined)
    conditions.push(`${ipOf(family)} daddr . meta l4proto . th dport @${endpoints}`);
  return conditions.map((each) => `${each} `).join("");
}

function cached<K extends object, V>(cache: WeakMap<K, V>, key: K, make: (key: K) => V): V {
  const known = cache.get(key);
  if (known !== undefined) return known;
  const value = make(key);
  cache.set(key, value);
  return value;
}
