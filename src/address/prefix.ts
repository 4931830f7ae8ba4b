/** Address prefixes (CIDR, RFC 4632; RFC 4291 §2.3): networks and subnets. */

import { bitsOf, type Family, formatIp, type Ip, parseIp } from "./ip.ts";

/** A prefix; `base` has all host bits zero. */
export interface Prefix {
  readonly family: Family;
  readonly base: bigint;
  /** Prefix length in bits. */
  readonly length: number;
}

/** The prefix of `length` bits that contains `ip`; host bits are masked off. */
export function prefixOf(ip: Ip, length: number): Prefix {
  const hostBits = BigInt(bitsOf(ip.family) - length);
  return { family: ip.family, base: (ip.value >> hostBits) << hostBits, length };
}

/** Parses "10.5.0.0/16" or "fc00::/48"; host bits are masked off, as Go's `net.ParseCIDR` does. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const ip = parseIp(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (ip === undefined || !/^\d{1,3}$/.test(digits)) return undefined;
  const length = Number(digits);
  return length <= bitsOf(ip.family) ? prefixOf(ip, length) : undefined;
}

/** "10.5.0.0/16". */
export const formatPrefix = (prefix: Prefix): string => `${formatIp(baseOf(prefix))}/${prefix.length}`;

/** The lowest address of the prefix: in flannel also the VTEP's own address. */
export const baseOf = (prefix: Prefix): Ip => ({ family: prefix.family, value: prefix.base });

/** The address `offset` above the base. The caller keeps the offset inside the prefix. */
export const addressAt = (prefix: Prefix, offset: bigint): Ip => ({
  family: prefix.family,
  value: prefix.base + offset,
});

/** The number of addresses in the prefix. */
export const sizeOf = (prefix: Prefix): bigint => 1n << BigInt(bitsOf(prefix.family) - prefix.length);

/** Whether `ip` is in the prefix. */
export const containsIp = (prefix: Prefix, ip: Ip): boolean =>
  prefix.family === ip.family && ip.value >= prefix.base && ip.value < prefix.base + sizeOf(prefix);

/** Whether all of `inner` is in `outer`. */
export const containsPrefix = (outer: Prefix, inner: Prefix): boolean =>
  outer.length <= inner.length && containsIp(outer, baseOf(inner));

/** Whether the two share any address: prefixes either nest or are disjoint. */
export const overlaps = (a: Prefix, b: Prefix): boolean => containsPrefix(a, b) || containsPrefix(b, a);

/** Whether two prefixes are the same. */
export const samePrefix = (a: Prefix, b: Prefix): boolean =>
  a.family === b.family && a.base === b.base && a.length === b.length;

/** Whether two prefixes are the same, or both are absent. */
export const sameOptionalPrefix = (a: Prefix | undefined, b: Prefix | undefined): boolean =>
  a === undefined || b === undefined ? a === b : samePrefix(a, b);
