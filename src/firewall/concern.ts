/**
 * Which changes of nftables concern flanneld's rules. On a host where kube-proxy or Docker rewrites chains of its own many
 * times a minute, no other change may cost a check.
 */

import { CHAINS, FIREWALL_FAMILIES, isOwnName, ROLES } from "./names.ts";

/** Where something was added, changed or deleted, in nft's words. */
export interface RulesetChange {
  readonly family: string;
  readonly table: string;
  readonly object: "table" | "chain" | "rule" | "other";
  /** Of a chain its name, of a rule its chain's. */
  readonly chain: string | undefined;
  /** A chain at a hook. */
  readonly isBaseChain?: true;
}

/**
 * Changes of flanneld's own tables; in the tables that iptables-nft uses, of its chains, of the chains that jump to them (whose
 * policy and drops matter too), and of the tables as a whole. These are checked at once.
 */
export function concernsUs({ family, table, object, chain }: RulesetChange): boolean {
  const names = FIREWALL_FAMILIES.find(({ nft }) => nft === family);
  if (names === undefined) return false;
  if (isOwnName(table, names.nftTable)) return true;
  const shared = ROLES.map((role) => CHAINS[role]).find((each) => each.table === table);
  if (shared === undefined) return false;
  return (
    object === "table" || (chain !== undefined && isOwnName(chain, shared.chain)) || chain === shared.hook
  );
}

/**
 * Changes of foreign chains that can drop the network's packets: new base chains, and chains that the last walk
 * passed (`isWatched`, called with "inet firewalld filter_FORWARD"). They are checked at intervals.
 */
export const concernsPackets = (
  { family, table, chain, isBaseChain }: RulesetChange,
  isWatched: (chain: string) => boolean,
): boolean => chain !== undefined && (isBaseChain === true || isWatched(`${family} ${table} ${chain}`));
