/**
 * The firewall rules of a host as data: what they mean, before anything decides whether nftables or iptables holds them.
 *
 * Two chains per family. “masquerade” gives traffic that leaves the network the node's address, so that the outside can
 * answer; “forward” accepts the network's traffic where somebody else (Docker, a distribution) drops what is forwarded.
 * Everything here is pure; both renderers work from the same rules, so that both modes mean the same.
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

/** The chains of one family; an empty list means that the chain is not wanted and must not exist. */
export interface FamilyRules {
  readonly masquerade: readonly FirewallRule[];
  readonly forward: readonly FirewallRule[];
}

export type ChainRole = keyof FamilyRules;

export interface FirewallRules {
  readonly ipv4: FamilyRules;
  readonly ipv6: FamilyRules;
}

/** One family's network and the host's own subnet in it. */
export interface FirewallNetwork {
  readonly network: Prefix;
  readonly subnet: Prefix;
}

export interface FirewallIntent {
  readonly ipv4: FirewallNetwork | undefined;
  readonly ipv6: FirewallNetwork | undefined;
  /** `--ip-masq` */
  readonly ipMasq: boolean;
  /** `--iptables-forward-rules` */
  readonly forwardRules: boolean;
  /** Not `--ip-masq-fully-random-disable`. Where the host's iptables cannot do it, plain masquerade takes its place. */
  readonly randomFully: boolean;
}

/**
 * The mark by which kube-proxy asks for masquerade of a packet it has redirected (its `--iptables-masquerade-bit` 14);
 * such packets are left to it: to translate them twice trips over port clashes.
 */
const KUBE_MASQUERADE_MARK = 0x4000;

const MULTICAST = { 4: parsePrefix("224.0.0.0/4")!, 6: parsePrefix("ff00::/8")! };

const NO_FAMILY_RULES: FamilyRules = { masquerade: [], forward: [] };

/** Nothing is wanted: what cleanup makes the host equal to. */
export const NO_RULES: FirewallRules = { ipv4: NO_FAMILY_RULES, ipv6: NO_FAMILY_RULES };

/** The rules that a host must hold. */
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
    // from outside straight to a container of this host: it sees who is calling
    rule("return", { source: outside(network), destination: within(subnet) }),
    rule(masquerade, { source: within(network), destination: outside(multicast) }),
    // host to a container of another host: the answer must come back through the network
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

export const within = (prefix: Prefix): AddressMatch => ({ prefix, negated: false });
export const outside = (prefix: Prefix): AddressMatch => ({ prefix, negated: true });

/** One text per meaning: equal texts are equal rules, whoever wrote them and in whatever syntax. */
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

/** Whether the rules read back (undefined: a rule nobody of us would write) are the wanted ones in the same order. */
export const sameRules = (
  wanted: readonly FirewallRule[],
  found: readonly (FirewallRule | undefined)[],
): boolean =>
  wanted.length === found.length &&
  wanted.every((rule, index) => {
    const other = found[index];
    return other !== undefined && ruleText(rule) === ruleText(other);
  });

/** The same rules with plain masquerade, for an iptables that cannot do `--random-fully`. */
export const withoutRandomFully = (rules: FamilyRules): FamilyRules => ({
  masquerade: rules.masquerade.map((rule) =>
    rule.verdict === "masquerade-random" ? { ...rule, verdict: "masquerade" } : rule,
  ),
  forward: rules.forward,
});
