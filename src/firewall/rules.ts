/**
 * The firewall rules of a host as data, independent of nftables and iptables.
 *
 * Two chains per family. “masquerade” gives traffic that leaves the network the node's address, so that the outside can
 * answer; “forward” accepts the network's traffic where the host (Docker, a distribution) drops what is forwarded.
 * Both renderers use the same rules, so that both modes mean the same.
 */

import { formatPrefix, type Prefix, parsePrefix } from "../address/prefix.ts";

/** An address match: in the prefix, or (`negated`) outside it. */
export interface AddressMatch {
  readonly prefix: Prefix;
  readonly negated: boolean;
}

/** `masquerade-random` asks the kernel for fully random source ports (NF_NAT_RANGE_PROTO_RANDOM_FULLY). */
export type Verdict = "accept" | "return" | "masquerade" | "masquerade-random";

/** One rule: all given matches together lead to the verdict. */
export interface FirewallRule {
  readonly source: AddressMatch | undefined;
  readonly destination: AddressMatch | undefined;
  /** These bits are all set in the packet mark. */
  readonly mark: number | undefined;
  readonly verdict: Verdict;
}

/** The chains of one family; an empty list means that the chain must not exist. */
export interface FamilyRules {
  readonly masquerade: readonly FirewallRule[];
  readonly forward: readonly FirewallRule[];
}

/** The role of a chain: `masquerade` or `forward`. */
export type ChainRole = keyof FamilyRules;

/** The desired rules of both families; no rules = no chain. */
export interface FirewallRules {
  readonly ipv4: FamilyRules;
  readonly ipv6: FamilyRules;
}

/** One family's network and the host's own subnet in it. */
export interface FirewallNetwork {
  readonly network: Prefix;
  readonly subnet: Prefix;
}

/** What the firewall is derived from: the networks, and the flags. */
export interface FirewallIntent {
  readonly ipv4: FirewallNetwork | undefined;
  readonly ipv6: FirewallNetwork | undefined;
  /** `--ip-masq` */
  readonly ipMasq: boolean;
  /** `--iptables-forward-rules` */
  readonly forwardRules: boolean;
  /** Not `--ip-masq-fully-random-disable`. An iptables that does not support it gets plain masquerade. */
  readonly randomFully: boolean;
}

/**
 * kube-proxy's mark for packets that it masquerades itself (its `--iptables-masquerade-bit` 14); translating them twice
 * causes port clashes.
 */
const KUBE_MASQUERADE_MARK = 0x4000;

const MULTICAST = { 4: parsePrefix("224.0.0.0/4")!, 6: parsePrefix("ff00::/8")! };

const NO_FAMILY_RULES: FamilyRules = { masquerade: [], forward: [] };

/** No rules: the desired state of cleanup. */
export const NO_RULES: FirewallRules = { ipv4: NO_FAMILY_RULES, ipv6: NO_FAMILY_RULES };

/** The desired rules of a host. */
export const firewallRules = (intent: FirewallIntent): FirewallRules => ({
  ipv4: familyRules(intent.ipv4, intent),
  ipv6: familyRules(intent.ipv6, intent),
});

function familyRules(family: FirewallNetwork | undefined, intent: FirewallIntent): FamilyRules {
  if (family === undefined) return NO_FAMILY_RULES;
  return {
    masquerade: intent.ipMasq ? masqueradeRules(family, intent.randomFully) : [],
    forward: intent.forwardRules ? forwardRules(family.network) : [],
  };
}

function masqueradeRules({ network, subnet }: FirewallNetwork, randomFully: boolean): FirewallRule[] {
  const masquerade = randomFully ? "masquerade-random" : "masquerade";
  const multicast = MULTICAST[network.family];
  return [
    rule("return", { mark: KUBE_MASQUERADE_MARK }),
    // between containers, in both directions, addresses are kept
    rule("return", { source: within(subnet), destination: within(network) }),
    rule("return", { source: within(network), destination: within(subnet) }),
    // from outside directly to a container of this host: it sees the caller's address
    rule("return", { source: outside(network), destination: within(subnet) }),
    rule(masquerade, { source: within(network), destination: outside(multicast) }),
    // host to a container of another host: the reply must return through the network
    rule(masquerade, { source: outside(network), destination: within(network) }),
  ];
}

const forwardRules = (network: Prefix): FirewallRule[] => [
  rule("accept", { source: within(network) }),
  rule("accept", { destination: within(network) }),
];

/** A rule from the matches that it has. */
export const rule = (verdict: Verdict, match: Partial<Omit<FirewallRule, "verdict">>): FirewallRule => ({
  source: match.source,
  destination: match.destination,
  mark: match.mark,
  verdict,
});

/** Matches the addresses of the prefix. */
export const within = (prefix: Prefix): AddressMatch => ({ prefix, negated: false });

/** Matches all addresses but the prefix's. */
export const outside = (prefix: Prefix): AddressMatch => ({ prefix, negated: true });

/** Canonical text: equal texts are equal rules, in either syntax. */
export function ruleText(rule: FirewallRule): string {
  const parts = [
    rule.source && `from ${matchText(rule.source)}`,
    rule.destination && `to ${matchText(rule.destination)}`,
    rule.mark !== undefined && `marked 0x${rule.mark.toString(16)}`,
    rule.verdict,
  ];
  return parts.filter(Boolean).join(" ");
}

const matchText = (match: AddressMatch): string =>
  `${match.negated ? "outside " : ""}${formatPrefix(match.prefix)}`;

/** Whether the observed rules (undefined: of a form that flanneld never writes) are the desired ones in the same order. */
export const sameRules = (
  wanted: readonly FirewallRule[],
  found: readonly (FirewallRule | undefined)[],
): boolean =>
  wanted.length === found.length &&
  wanted.every((rule, index) => {
    const other = found[index];
    return other !== undefined && ruleText(rule) === ruleText(other);
  });

/** The same rules with plain masquerade, for an iptables without `--random-fully`. */
export const withoutRandomFully = (rules: FamilyRules): FamilyRules => ({
  masquerade: rules.masquerade.map((rule) =>
    rule.verdict === "masquerade-random" ? { ...rule, verdict: "masquerade" } : rule,
  ),
  forward: rules.forward,
});
