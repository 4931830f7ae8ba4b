/**
 * Whose rules a chain of flanneld's name contains, when several networks (several daemons) share a host.
 *
 * The rules themselves say so: each names its network. A daemon owns what names its network, or one that it had before
 * (its previous subnet.env, or its config while it runs). The first network uses the traditional names; a daemon that finds
 * them in use by another network uses names with its own network in them, and stays with them over restarts.
 */

import type { FamilyName } from "../address/family.ts";
import { formatPrefix, type Prefix, samePrefix } from "../address/prefix.ts";
import { networkName } from "./names.ts";
import type { FamilyRules, FirewallRule } from "./rules.ts";

/** The networks that this daemon has or had; undefined = every network is ours (cleanup). */
export type OwnNetworks = Readonly<Record<FamilyName, readonly Prefix[]>> | undefined;

/** One family's networks of {@link OwnNetworks}. */
export type FamilyNetworks = readonly Prefix[] | undefined;

/** The rules of a chain, as far as ownership goes. `undefined` rules are of no form that flanneld writes. */
export interface ChainOwners {
  readonly hasOwn: boolean;
  readonly hasForeign: boolean;
}

/** The network that a rule of flanneld's form is about: the widest prefix in it; undefined = none. */
export function networkOfRule(rule: FirewallRule | undefined): Prefix | undefined {
  const prefixes = [rule?.source, rule?.destination].flatMap((match) =>
    match === undefined || isMulticast(match.prefix) ? [] : [match.prefix],
  );
  return prefixes.toSorted((a, b) => a.length - b.length)[0];
}

/** The network that wanted rules are for; undefined = there are none. */
export const networkOfRules = ({ forward, masquerade }: FamilyRules): Prefix | undefined =>
  [...forward, ...masquerade].map(networkOfRule).find((network) => network !== undefined);

/** Whether a rule names a network that is not ours. */
export function isForeignRule(rule: FirewallRule | undefined, networks: FamilyNetworks): boolean {
  const network = networkOfRule(rule);
  return network !== undefined && networks !== undefined && !hasNetwork(networks, network);
}

/** Whose rules these are. */
export function ownersOf(
  rules: readonly (FirewallRule | undefined)[],
  networks: FamilyNetworks,
): ChainOwners {
  const owners = { hasOwn: false, hasForeign: false };
  for (const rule of rules) {
    if (isForeignRule(rule, networks)) owners.hasForeign = true;
    else if (networkOfRule(rule) !== undefined) owners.hasOwn = true;
  }
  return owners;
}

/** Whether nothing in it belongs to another network. */
export const isOurs = ({ hasOwn, hasForeign }: ChainOwners): boolean => hasOwn || !hasForeign;

/**
 * The name for our chain or table: the traditional one, unless another network uses it (`isForeign`), or ours already
 * has one of its own.
 */
export function chooseName(
  traditional: string,
  network: Prefix,
  ownersByName: ReadonlyMap<string, ChainOwners & { readonly isInUse: boolean }>,
): string {
  const derived = networkName(traditional, network);
  const owners = ownersByName.get(traditional);
  if (owners?.hasOwn) return traditional;
  if (ownersByName.get(derived)?.hasOwn) return derived;
  return owners?.hasForeign && owners.isInUse ? derived : traditional;
}

/** The networks with one more in one family. */
export const withNetwork = (networks: readonly Prefix[], network: Prefix | undefined): readonly Prefix[] =>
  network === undefined || hasNetwork(networks, network) ? networks : [...networks, network];

const hasNetwork = (networks: readonly Prefix[], network: Prefix): boolean =>
  networks.some((own) => samePrefix(own, network));

const isMulticast = (prefix: Prefix): boolean =>
  formatPrefix(prefix) === "224.0.0.0/4" || formatPrefix(prefix) === "ff00::/8";
