/**
 * Which peer has which subnet, where several name one: subnets that share addresses can lead to one host only. Whoever
 * asks first has them, so that plans which ask in the order of keys agree on all hosts.
 */

import { bitsOf } from "../address/ip.ts";
import { formatPrefix, type Prefix } from "../address/prefix.ts";

interface Holder {
  readonly key: string;
  readonly subnet: Prefix;
}

/** Gives the subnet to the peer with this key; text = why not. All subnets are of one family. */
export type ClaimSubnet = (key: string, subnet: Prefix) => string | undefined;

/** Claims for one family, none yet. A look-up costs one probe for each prefix length in use. */
export function createSubnetClaims(): ClaimSubnet {
  const holders: Holder[] = [];
  /** For each length that was asked for: who holds a subnet of that length, or the first who holds part of one. */
  const byLength = new Map<number, Map<bigint, Holder>>();

  /** Subnets nest or are apart, so that a look-up at each length finds whatever overlaps. */
  function findOverlap(subnet: Prefix): Holder | undefined {
    for (const [length, holdersOf] of byLength) {
      if (length > subnet.length) continue;
      const holder = holdersOf.get(baseAt(subnet, length));
      const isPart = holder !== undefined && holder.subnet.length > length;
      if (holder !== undefined && (length === subnet.length || !isPart)) return holder;
    }
    return undefined;
  }

  function note(holder: Holder, length: number, holdersOf: Map<bigint, Holder>): void {
    if (holder.subnet.length < length) return;
    const base = baseAt(holder.subnet, length);
    if (!holdersOf.has(base)) holdersOf.set(base, holder);
  }

  return (key, subnet) => {
    if (!byLength.has(subnet.length)) {
      const holdersOf = new Map<bigint, Holder>();
      for (const holder of holders) note(holder, subnet.length, holdersOf);
      byLength.set(subnet.length, holdersOf);
    }
    const other = findOverlap(subnet);
    if (other !== undefined)
      return `its subnet ${formatPrefix(subnet)} overlaps ${formatPrefix(other.subnet)}, which is that of ${other.key}`;
    const holder = { key, subnet };
    holders.push(holder);
    for (const [length, holdersOf] of byLength) note(holder, length, holdersOf);
    return undefined;
  };
}

/** The base of the prefix of that length around `prefix`; `length` is not above the prefix's. */
function baseAt({ family, base, length: own }: Prefix, length: number): bigint {
  if (length === own) return base;
  const hostBits = BigInt(bitsOf(family) - length);
  return (base >> hostBits) << hostBits;
}
