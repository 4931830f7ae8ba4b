/**
 * The names by which our rules are told from everybody else's. They are Go flannel's, so that one takes over from the
 * other without a leftover.
 */

import type { FamilyName } from "../address/family.ts";
import type { ChainRole } from "./rules.ts";

export interface ChainNames {
  /** Table of iptables, and of iptables-nft's share of nftables. */
  readonly table: "nat" | "filter";
  /** Built-in chain that jumps to ours. */
  readonly hook: "POSTROUTING" | "FORWARD";
  /** Our chain there. */
  readonly chain: string;
  /** Comment on each of our rules. */
  readonly comment: string;
  /** Our base chain in our own nftables table, and where it hangs. */
  readonly nftChain: string;
  readonly nftType: string;
  readonly nftHook: string;
  /** NF_IP_PRI_NAT_SRC, NF_IP_PRI_FILTER (linux/netfilter_ipv4.h) and nft's names for them. */
  readonly nftPriority: number;
  readonly nftPriorityName: string;
}

export const CHAINS: Readonly<Record<ChainRole, ChainNames>> = {
  masquerade: {
    table: "nat",
    hook: "POSTROUTING",
    chain: "FLANNEL-POSTRTG",
    comment: "flanneld masq",
    nftChain: "postrtg",
    nftType: "nat",
    nftHook: "postrouting",
    nftPriority: 100,
    nftPriorityName: "srcnat",
  },
  forward: {
    table: "filter",
    hook: "FORWARD",
    chain: "FLANNEL-FWD",
    comment: "flanneld forward",
    nftChain: "forward",
    nftType: "filter",
    nftHook: "forward",
    nftPriority: 0,
    nftPriorityName: "filter",
  },
};

export const ROLES: readonly ChainRole[] = ["masquerade", "forward"];

/** The families as both tools name them. */
export const FIREWALL_FAMILIES = [
  { key: "ipv4", nft: "ip", nftTable: "flannel-ipv4", iptables: "iptables" },
  { key: "ipv6", nft: "ip6", nftTable: "flannel-ipv6", iptables: "ip6tables" },
] as const satisfies readonly (Readonly<Record<string, string>> & { readonly key: FamilyName })[];

/** One family of addresses, in the words of nft and iptables; `key` is that of its rules. */
export type FirewallFamily = (typeof FIREWALL_FAMILIES)[number];

/**
 * Chain of Docker ≥ 28 in FORWARD: whatever is routed to a Docker bridge from elsewhere ends there, so our jump has to
 * come before it, while DOCKER-USER, the operator's own, keeps the first word.
 */
export const DOCKER_FORWARD = "DOCKER-FORWARD";
