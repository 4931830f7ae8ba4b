/**
 * Which changes of nftables can concern our rules. On a host where kube-proxy or Docker rewrites chains of its own many
 * times a minute, everything else must not cost a look.
 */

import { CHAINS, FIREWALL_FAMILIES, ROLES } from "./names.ts";

/** Where something was added, changed or deleted, in nft's words. */
export interface RulesetChange {
  readonly family: string;
  readonly table: string;
  readonly object: "table" | "chain" | "rule" | "other";
  /** Of a chain its name, of a rule its chain's. */
  readonly chain: string | undefined;
}

/**
 * Anything in a table of our own; in the tables that iptables-nft keeps, our chains, the chains that jump to them (whose
 * policy and drops matter too), and the tables as a whole.
 */
export function concernsUs({ family, table, object, chain }: RulesetChange): boolean {
  const names = FIREWALL_FAMILIES.find(({ nft }) => nft === family);
  if (names === undefined) return false;
  if (table === names.nftTable) return true;
  const shared = ROLES.map((role) => CHAINS[role]).find((each) => each.table === table);
  if (shared === undefined) return false;
  return object === "table" || chain === shared.chain || chain === shared.hook;
}
