/**
 * The names of flanneld's tables, chains and comments. They are Go flannel's, so that either replaces the other without
 * stale rules. Where another network on the host uses them, the names of this one's chains and tables contain its network.
 */

import type { FamilyName } from "../address/family.ts";
import type { Prefix } from "../address/prefix.ts";
import type { ChainRole } from "./rules.ts";

/** The names of one role's chain, in iptables and in nftables. */
export interface ChainNames {
  /** Table of iptables, and of iptables-nft's share of nftables. */
  readonly table: "nat" | "filter";
  /** Built-in chain that jumps to flanneld's. */
  readonly hook: "POSTROUTING" | "FORWARD";
  /** flanneld's chain there, unless another network uses the name: see {@link networkName}. */
  readonly chain: string;
  /** Comment on each rule of flanneld. */
  readonly comment: string;
  /** flanneld's base chain in its own nftables table, with its type and hook. */
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

/**
 * A name for one network of several: the traditional one, its base address in hexadecimal (IPv6: a hash of it) and its length.
 * At most 28 characters with the chains' names, the longest that iptables takes (XT_EXTENSION_MAXNAMELEN, linux/netfilter/x_tables.h).
 */
export function networkName(traditional: string, { family, base, length }: Prefix): string {
  const number = family === 4 ? base : fnv1a(base.toString(16));
  return `${traditional}-${number.toString(16).toUpperCase().padStart(8, "0")}-${length}`;
}

/** Whether a chain or table has the traditional name, or that of one network. */
export const isOwnName = (name: string, traditional: string): boolean =>
  name === traditional ||
  (name.startsWith(`${traditional}-`) && /^[\dA-F]{8}-\d{1,3}$/.test(name.slice(traditional.length + 1)));

/** FNV-1a, 32 bits. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  return hash;
}

/** The families as both tools name them. */
export const FIREWALL_FAMILIES = [
  { key: "ipv4", nft: "ip", nftTable: "flannel-ipv4", iptables: "iptables" },
  { key: "ipv6", nft: "ip6", nftTable: "flannel-ipv6", iptables: "ip6tables" },
] as const satisfies readonly (Readonly<Record<string, string>> & { readonly key: FamilyName })[];

/** One address family, as nft and iptables name it; `key` is that of its rules. */
export type FirewallFamily = (typeof FIREWALL_FAMILIES)[number];

/**
 * Chain of Docker ≥ 28 in FORWARD: it drops what is routed to a Docker bridge from elsewhere, so flanneld's jump stands
 * before it, and after DOCKER-USER, which is the operator's.
 */
export const DOCKER_FORWARD = "DOCKER-FORWARD";
